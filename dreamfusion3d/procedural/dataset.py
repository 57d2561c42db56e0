"""Training pictures of the procedural world, drawn once and painted anew whenever they are shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Bool, Float, UInt8
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from dreamfusion3d.cameras.orbit import Cameras, orbit, sample_orbit
from dreamfusion3d.core.files import replacing
from dreamfusion3d.procedural.objects import COLOURS, KINDS, Instances, Meaning, instances
from dreamfusion3d.procedural.occupancy import filled
from dreamfusion3d.procedural.renderer import draw

PICTURE_SIZE = 64
_SIZE_WEIGHTS = {"normal": 0.52, "tall": 0.12, "short": 0.12, "wide": 0.12, "small": 0.12}
_COLOUR_JITTER = 0.03
PEERS = 8  # props of one label that are drawn from the same cameras
PAINTS = 128  # captions of a batch whose colours alone are told


@dataclass(frozen=True)
class Batch:
    """``g`` props, each seen from ``v`` cameras. Pictures are premultiplied RGBA in [-1, 1], CHW."""

    pictures: Float[Tensor, "g v 4 h w"]
    captions: list[list[str]]  # tokens of each prop's meaning
    azimuth_deg: Float[Tensor, "g v"]
    elevation_deg: Float[Tensor, "g v"]
    # of each prop: it and others of its caption, painted as it is and seen by its cameras
    peers: list[Float[Tensor, "_ v 4 h w"]] = field(default_factory=list)
    # where it is known how pictures are painted: the light that each part sends, in [0, 1], of the prop
    # and of its peers; and captions with the colours of their parts
    lights: Float[Tensor, "g v p h w"] | None = None
    peer_lights: list[Float[Tensor, "_ v p h w"]] = field(default_factory=list)
    paints: Paints | None = None
    # where it is known what is inside of props: the share of each cell that they and their peers fill
    solids: Float[Tensor, "g z y x"] | None = None

    def part(self, rows: slice) -> Batch:
        """Some of its props, without the paints, which are of no prop."""
        return Batch(
            self.pictures[rows], self.captions[rows], self.azimuth_deg[rows], self.elevation_deg[rows],
            self.peers[rows], None if self.lights is None else self.lights[rows], self.peer_lights[rows],
            None, None if self.solids is None else self.solids[rows],
        )


@dataclass(frozen=True)
class Paints:
    """The colours of what captions mean, sRGB in [0, 1]; they need no pictures."""

    captions: list[list[str]]
    colours: Float[Tensor, "m p 3"]


@dataclass(frozen=True)
class Label:
    """What the drawing of a prop says of it: everything but its colours."""

    kind: str
    count: int
    size: str
    finish: str
    option: bool


@dataclass(frozen=True)
class Pictures:
    """Drawn but unpainted pictures: planes are the light of ``pictures.Planes``, and the opacity.

    Props that share their cameras share their label: they are each other's peers.
    """

    planes: UInt8[Tensor, "n v 6 h w"]
    solids: UInt8[Tensor, "n z y x"]  # the share of each cell that is filled (``solid.filled``)
    azimuth_deg: Float[Tensor, "n v"]
    elevation_deg: Float[Tensor, "n v"]
    labels: list[Label]

    def __len__(self) -> int:
        return len(self.labels)

    def split(self, every: int) -> tuple[Pictures, Pictures]:
        """(the rest, one group of peers in ``every``): what is trained on, and what is kept to validate."""
        groups = {id(members): members for members in self._peers}.values()
        kept = torch.zeros(len(self), dtype=torch.bool)
        for members in list(groups)[::every]:
            kept[members] = True
        return self._rows(~kept), self._rows(kept)

    def to(self, device: torch.device | str) -> Pictures:
        """The same, painted on ``device`` from now on; what is drawn by lot stays on the CPU."""
        return Pictures(
            self.planes.to(device), self.solids.to(device), self.azimuth_deg, self.elevation_deg, self.labels
        )

    def _rows(self, mask: Bool[Tensor, " n"]) -> Pictures:
        labels = [label for label, wanted in zip(self.labels, mask.tolist(), strict=True) if wanted]
        return Pictures(
            self.planes[mask], self.solids[mask], self.azimuth_deg[mask], self.elevation_deg[mask], labels
        )

    def batch(self, props: int, views: int, *, generator: torch.Generator) -> Batch:
        """``props`` random props from ``views`` of their cameras, in colours drawn now."""
        rows = torch.randint(len(self), (props,), generator=generator)
        stored = self.planes.shape[1]
        columns = torch.stack([torch.randperm(stored, generator=generator)[:views] for _ in range(props)])
        meanings = [_painted(self.labels[int(r)], generator=generator) for r in rows]
        colours = torch.tensor([m.paints() for m in meanings])  # (g part rgb)
        colours = colours + _COLOUR_JITTER * (torch.rand(colours.shape, generator=generator) * 2 - 1)
        colours = colours.clamp(0, 1)
        known, peers = self._seen(rows, columns, colours)
        lights = [planes[:, :, :-1] for planes in known]
        own = [int((self._peers[int(row)] == row).nonzero()) for row in rows]
        return Batch(
            torch.stack([p[i] for p, i in zip(peers, own, strict=True)]), [m.tokens() for m in meanings],
            self.azimuth_deg[rows[:, None], columns], self.elevation_deg[rows[:, None], columns], peers,
            torch.stack([p[i] for p, i in zip(lights, own, strict=True)]), lights,
            self._paints(PAINTS, generator=generator), self._solids(rows),
        )

    def _seen(
        self, rows: Tensor, columns: Tensor, colours: Float[Tensor, "g part rgb"]
    ) -> tuple[list[Float[Tensor, "_ v 6 h w"]], list[Float[Tensor, "_ v 4 h w"]]]:
        """Of each row its peers' planes, and these painted; all of them at once, as a GPU likes it."""
        among = [self._peers[int(row)] for row in rows]
        stored, views = self.planes.shape[1], columns.shape[1]
        flat = [(a[:, None] * stored + seen).flatten() for a, seen in zip(among, columns, strict=True)]
        sizes = [len(a) * views for a in among]
        place = torch.cat(flat).to(self.planes.device)
        planes = self.planes.flatten(0, 1)[place].float() / 255
        colour = colours.repeat_interleave(torch.tensor(sizes), 0).to(planes.device)
        known, painted = (
            [part.unflatten(0, (-1, views)) for part in of.split(sizes)]
            for of in (planes, _paint(planes, colour))
        )
        return known, painted

    def _solids(self, rows: Tensor) -> Float[Tensor, "g z y x"]:
        """Of each row the mean over its peers."""
        among = [self._peers[int(row)] for row in rows]
        cells = self.solids[torch.cat(among).to(self.solids.device)].float() / 255
        return means(list(cells.split([len(a) for a in among])))

    def _paints(self, count: int, *, generator: torch.Generator) -> Paints:
        rows = torch.randint(len(self), (count,), generator=generator).tolist()
        meanings = [_painted(self.labels[row], generator=generator) for row in rows]
        return Paints([m.tokens() for m in meanings], torch.tensor([m.paints() for m in meanings]))

    def singles(
        self, count: int, *, generator: torch.Generator
    ) -> tuple[Float[Tensor, "{count} 4 h w"], list[Meaning]]:
        """``count`` pictures of random props, each with what it shows; also in held-out colours:
        who judges must know them."""
        rows = torch.randint(len(self), (count,), generator=generator)
        columns = torch.randint(self.planes.shape[1], (count,), generator=generator)
        meanings = [_painted(self.labels[int(r)], generator=generator, held_out=True) for r in rows]
        painted = [
            _paint(self.planes[row, column][None].float() / 255, colours[None])[0]
            for row, column, colours in zip(
                rows, columns, torch.tensor([m.paints() for m in meanings]), strict=True
            )
        ]
        return torch.stack(painted), meanings

    @cached_property
    def _peers(self) -> list[Tensor]:
        """Of each row, the rows that share its cameras (itself among them)."""
        _, group, counts = torch.unique(
            torch.cat([self.azimuth_deg, self.elevation_deg], 1), dim=0, return_inverse=True,
            return_counts=True,
        )
        members = torch.argsort(group, stable=True).split(counts.tolist())
        return [members[g] for g in group.tolist()]

    def save(self, path: Path) -> None:
        tensors = {
            "planes": self.planes, "solids": self.solids, "azimuth_deg": self.azimuth_deg,
            "elevation_deg": self.elevation_deg,
        }
        labels = json.dumps([asdict(label) for label in self.labels])
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata={"labels": labels})


def means(parts: list[Float[Tensor, "_ *shape"]]) -> Float[Tensor, "n *shape"]:
    """Of each part over its rows; in few operations, however many parts."""
    rows = torch.cat(parts)
    sizes = torch.tensor([len(part) for part in parts])
    owner = torch.arange(len(parts)).repeat_interleave(sizes).to(rows.device)
    share = (1 / sizes).repeat_interleave(sizes).to(rows.device).view(-1, *[1] * (rows.dim() - 1))
    return rows.new_zeros(len(parts), *rows.shape[1:]).index_add_(0, owner, rows * share)


def _paint(
    planes: Float[Tensor, "k 6 h w"], colours: Float[Tensor, "k part rgb"]
) -> Float[Tensor, "k 4 h w"]:
    rgb = torch.einsum("kphw,kpc->kchw", planes[:, :-1], colours.to(planes.device))
    return torch.cat([rgb, planes[:, -1:]], 1) * 2 - 1


def load(folder: Path) -> Pictures:
    """Every shard of a cache folder, as one."""
    shards = [_load_shard(path) for path in shards_of(folder)]
    return Pictures(
        torch.cat([s.planes for s in shards]), torch.cat([s.solids for s in shards]),
        torch.cat([s.azimuth_deg for s in shards]), torch.cat([s.elevation_deg for s in shards]),
        [label for s in shards for label in s.labels],
    )


def shards_of(folder: Path) -> list[Path]:
    """The cache's files; not what a killed process left half written."""
    return sorted(path for path in folder.glob("*.safetensors") if not path.name.startswith("."))


def _load_shard(path: Path) -> Pictures:
    with safe_open(path, framework="pt") as stream:
        labels = [Label(**label) for label in json.loads(stream.metadata()["labels"])]
        return Pictures(
            stream.get_tensor("planes"), stream.get_tensor("solids"), stream.get_tensor("azimuth_deg"),
            stream.get_tensor("elevation_deg"), labels,
        )


def make(
    props: int, views: int = 6, *, kinds: list[str] | None = None, generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[int, Pictures | None]]:
    """Draw ``props`` props from ``views`` random cameras each, on ``device``; the pictures lie on the CPU.

    Yields (props drawn so far, None), and (props, the pictures) at the end. Every form of a kind
    (its counts, with and without its option) is drawn equally often, since forms must be told
    apart. Up to PEERS props of one label share their cameras.
    """
    forms = [(k, c, o) for k in (kinds or list(KINDS)) for c, o in KINDS[k].forms()]
    counts = torch.bincount(
        torch.randint(len(forms), (props,), generator=generator), minlength=len(forms)
    ).tolist()
    planes, solids, azimuth, elevation, labels = [], [], [], [], []
    for (kind, count, option), number in zip(forms, counts, strict=True):
        for start in range(0, number, PEERS):
            n = min(PEERS, number - start)
            label = Label(
                kind, count, _pick(_SIZE_WEIGHTS, generator), _pick(_finish_weights(kind), generator), option
            )
            cameras = sample_orbit(views, generator=generator, size=PICTURE_SIZE, spread=False)
            alike = instances(kind, count, label.size, n, option=option, generator=generator)
            planes.append(_draw(alike, label.finish, cameras, device))
            solids.append((filled(alike) * 255).round().to(torch.uint8))
            azimuth.append(cameras.azimuth_deg.expand(n, views))
            elevation.append(cameras.elevation_deg.expand(n, views))
            labels += [label] * n
            yield len(labels), None
    yield len(labels), Pictures(
        torch.cat(planes), torch.cat(solids), torch.cat(azimuth), torch.cat(elevation), labels
    )


def _draw(
    props: Instances, finish: str, cameras: Cameras, device: torch.device | str
) -> UInt8[Tensor, "n v 6 h w"]:
    """Planes of each prop from every camera."""
    number, views = len(props), len(cameras)
    everyone = cameras.select(torch.arange(views).repeat(number)).to(device)
    drawn = draw(props[torch.arange(number).repeat_interleave(views)].to(device), everyone, finish)
    stack = torch.cat([drawn.light, drawn.opacity[:, None]], 1)
    return (stack.clamp(0, 1) * 255).round().to(torch.uint8).cpu().unflatten(0, (number, views))


def _pick(weights: dict[str, float], generator: torch.Generator) -> str:
    return list(weights)[int(torch.multinomial(torch.tensor(list(weights.values())), 1, generator=generator))]


def _finish_weights(kind: str) -> dict[str, float]:
    others = [f for f in KINDS[kind].finishes if f != "plain"]
    return {"plain": 1.0} if not others else {"plain": 0.55, **{f: 0.45 / len(others) for f in others}}


def _painted(label: Label, *, generator: torch.Generator, held_out: bool = False) -> Meaning:
    """A meaning for a drawn prop, with colours drawn now; held-out pairs are drawn again, unless
    they are wanted too."""
    names = list(COLOURS)
    while True:
        a, b = torch.rand(2, generator=generator).tolist()
        i, j = torch.randint(len(COLOURS), (2,), generator=generator).tolist()
        meaning = Meaning(
            label.kind, "natural" if a < 0.25 else names[i], "default" if b < 0.7 else names[j],
            label.count, label.size, label.finish, label.option,
        )
        if held_out or not meaning.held_out():
            return meaning


def cameras_of(batch: Batch) -> Cameras:
    """The batch's cameras, flattened to (g v)."""
    size = batch.pictures.shape[-1]
    return orbit(batch.azimuth_deg.flatten(), batch.elevation_deg.flatten(), height=size, width=size)
