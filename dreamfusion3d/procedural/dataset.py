"""Training pictures of the procedural world, drawn once and painted anew whenever they are shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from dreamfusion3d.cameras import Cameras, orbit, sample_orbit
from dreamfusion3d.files import replacing
from dreamfusion3d.procedural.pictures import draw
from dreamfusion3d.procedural.world import COLOURS, KINDS, SIZES, Meaning, instances

PICTURE_SIZE = 64
_SIZE_WEIGHTS = {"normal": 0.52, "tall": 0.12, "short": 0.12, "wide": 0.12, "small": 0.12}
_COLOUR_JITTER = 0.03
PEERS = 8  # props of one label that are drawn from the same cameras


@dataclass(frozen=True)
class Batch:
    """``g`` props, each seen from ``v`` cameras. Pictures are premultiplied RGBA in [-1, 1], CHW."""

    pictures: Float[Tensor, "g v 4 h w"]
    captions: list[list[str]]  # tokens of each prop's meaning
    azimuth_deg: Float[Tensor, "g v"]
    elevation_deg: Float[Tensor, "g v"]
    # of each prop: it and others of its caption, painted as it is and seen by its cameras
    peers: list[Float[Tensor, "_ v 4 h w"]] = field(default_factory=list)


@dataclass(frozen=True)
class Pictures:
    """Drawn but unpainted pictures: planes are the light of parts A, B, accent, and the opacity.

    Props that share their cameras share their label: they are each other's peers.
    """

    planes: UInt8[Tensor, "n v 4 h w"]
    azimuth_deg: Float[Tensor, "n v"]
    elevation_deg: Float[Tensor, "n v"]
    labels: list[tuple[str, int, str]]  # kind, handles, size word

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, props: int, views: int, *, generator: torch.Generator) -> Batch:
        """``props`` random props from ``views`` of their cameras, in colours drawn now."""
        rows = torch.randint(len(self), (props,), generator=generator)
        stored = self.planes.shape[1]
        columns = torch.stack([torch.randperm(stored, generator=generator)[:views] for _ in range(props)])
        meanings = [_painted(*self.labels[int(r)], generator=generator) for r in rows]
        colours = torch.tensor([m.paints() for m in meanings])  # (g part rgb)
        colours = colours + _COLOUR_JITTER * (torch.rand(colours.shape, generator=generator) * 2 - 1)
        colours = colours.clamp(0, 1)
        peers = [
            self._paint(self._peers[int(row)][:, None], seen, colour)
            for row, seen, colour in zip(rows, columns, colours, strict=True)
        ]
        own = [p[int((self._peers[int(row)] == row).nonzero())] for row, p in zip(rows, peers, strict=True)]
        return Batch(
            torch.stack(own), [m.tokens() for m in meanings],
            self.azimuth_deg[rows[:, None], columns], self.elevation_deg[rows[:, None], columns], peers,
        )

    def _paint(
        self, rows: Tensor, columns: Tensor, colours: Float[Tensor, "part rgb"]
    ) -> Float[Tensor, "k v 4 h w"]:
        planes = self.planes[rows, columns].float() / 255
        rgb = torch.einsum("kvphw,pc->kvchw", planes[:, :, :3], colours)
        return torch.cat([rgb, planes[:, :, 3:]], 2) * 2 - 1

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
            "planes": self.planes, "azimuth_deg": self.azimuth_deg, "elevation_deg": self.elevation_deg
        }
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata={"labels": json.dumps(self.labels)})


def load(folder: Path) -> Pictures:
    """Every shard of a cache folder, as one."""
    shards = [_load_shard(path) for path in sorted(folder.glob("*.safetensors"))]
    return Pictures(
        torch.cat([s.planes for s in shards]), torch.cat([s.azimuth_deg for s in shards]),
        torch.cat([s.elevation_deg for s in shards]), [label for s in shards for label in s.labels],
    )


def _load_shard(path: Path) -> Pictures:
    with safe_open(path, framework="pt") as stream:
        labels = [(str(k), int(h), str(s)) for k, h, s in json.loads(stream.metadata()["labels"])]
        return Pictures(
            stream.get_tensor("planes"), stream.get_tensor("azimuth_deg"),
            stream.get_tensor("elevation_deg"), labels,
        )


def make(
    props: int, views: int = 6, *, kinds: list[str] | None = None, generator: torch.Generator
) -> Iterator[tuple[int, Pictures | None]]:
    """Draw ``props`` props from ``views`` random cameras each.

    Yields (props drawn so far, None), and (props, the pictures) at the end. Kinds are drawn in
    proportion to the number of handle counts that they have, since those must be told apart.
    Up to PEERS props of one label share their cameras.
    """
    names = [k for k in (kinds or list(KINDS)) for _ in KINDS[k].handles]
    counts = torch.bincount(
        torch.randint(len(names), (props,), generator=generator), minlength=len(names)
    ).tolist()
    planes, azimuth, elevation, labels = [], [], [], []
    for slot, (name, count) in enumerate(zip(names, counts, strict=True)):
        handles = KINDS[name].handles[slot - names.index(name)]
        for start in range(0, count, PEERS):
            n = min(PEERS, count - start)
            pick = torch.multinomial(torch.tensor(list(_SIZE_WEIGHTS.values())), 1, generator=generator)
            size = list(SIZES)[int(pick)]
            props_here = instances(name, handles, size, n, generator=generator)
            cameras = sample_orbit(views, generator=generator, size=PICTURE_SIZE, spread=False)
            everyone = cameras.select(torch.arange(views).repeat(n))
            drawn = draw(props_here[torch.arange(n).repeat_interleave(views)], everyone)
            stack = torch.cat([drawn.light, drawn.opacity[:, None]], 1)
            planes.append((stack.clamp(0, 1) * 255).round().to(torch.uint8).unflatten(0, (n, views)))
            azimuth.append(cameras.azimuth_deg.expand(n, views))
            elevation.append(cameras.elevation_deg.expand(n, views))
            labels += [(name, handles, size)] * n
            yield len(labels), None
    yield len(labels), Pictures(torch.cat(planes), torch.cat(azimuth), torch.cat(elevation), labels)


def _painted(kind: str, handles: int, size: str, *, generator: torch.Generator) -> Meaning:
    """A meaning for a drawn prop, with colours drawn now."""
    a, b = torch.rand(2, generator=generator).tolist()
    i, j = torch.randint(len(COLOURS), (2,), generator=generator).tolist()
    names = list(COLOURS)
    return Meaning(
        kind, "natural" if a < 0.25 else names[i], "default" if b < 0.7 else names[j], handles, size
    )


def cameras_of(batch: Batch) -> Cameras:
    """The batch's cameras, flattened to (g v)."""
    size = batch.pictures.shape[-1]
    return orbit(batch.azimuth_deg.flatten(), batch.elevation_deg.flatten(), height=size, width=size)
