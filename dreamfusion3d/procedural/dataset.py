"""Training data: renders of procedural objects, stored without colors and colorized per batch."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras, orbit_cameras, sample_orbit_cameras
from dreamfusion3d.core.files import atomic_write
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.objects import COLORS, SLOT_KEYS, SLOTS_BY_KEY, ObjectBatch, ObjectSpec, sample_objects
from dreamfusion3d.procedural.occupancy import object_occupancy
from dreamfusion3d.procedural.renderer import render_objects

TRAIN_IMAGE_SIZE = 64
_SIZE_WEIGHTS = {"normal": 0.52, "tall": 0.12, "short": 0.12, "wide": 0.12, "small": 0.12}
_COLOR_JITTER = 0.03
MAX_PEERS = 8  # objects of one label that share their cameras
CAPTION_COLORS_PER_BATCH = 128  # captions of a batch that come with colors but no images


@dataclass(frozen=True)
class TrainingBatch:
    """``g`` objects, each seen from ``v`` cameras. Images are premultiplied RGBA in [-1, 1], CHW."""

    images: Float[Tensor, "g v 4 h w"]
    tokens: list[list[str]]  # of each object's spec
    azimuth_deg: Float[Tensor, "g v"]
    elevation_deg: Float[Tensor, "g v"]
    # per object: it and its peers (same label), in its colors and from its cameras
    peers: list[Float[Tensor, "_ v 4 h w"]] = field(default_factory=list)
    # if the images decompose into layers: shading of each part in [0, 1], for the object and its
    # peers, and captions with the colors of their parts
    shading: Float[Tensor, "g v p h w"] | None = None
    peer_shading: list[Float[Tensor, "_ v p h w"]] = field(default_factory=list)
    caption_colors: CaptionColors | None = None
    # if the interior is known: mean occupancy of each cell over the object and its peers
    occupancy: Float[Tensor, "g z y x"] | None = None

    def select(self, rows: slice) -> TrainingBatch:
        """Select objects, without the caption colors, which belong to no object."""
        selected: dict[str, Any] = {
            k: v if v is None else v[rows] for k, v in vars(self).items() if k != "caption_colors"
        }
        return TrainingBatch(**selected)


@dataclass(frozen=True)
class CaptionColors:
    """Part colors of captions, sRGB in [0, 1]; they need no images."""

    tokens: list[list[str]]
    colors: Float[Tensor, "m p 3"]


@dataclass(frozen=True)
class ObjectLabel:
    """Attributes of a stored object: all but its colors."""

    category: str
    count: int
    size: str
    material: str
    option: bool
    style: str = ""


@dataclass(frozen=True)
class ObjectDataset:
    """Renders without colors: the five layers of `ShadingLayers`, and opacity.

    Objects that share their cameras share their label; they are each other's peers.
    """

    layers: UInt8[Tensor, "n v 6 h w"]
    occupancy: UInt8[Tensor, "n z y x"]  # occupied fraction of each cell (`object_occupancy`)
    azimuth_deg: Float[Tensor, "n v"]
    elevation_deg: Float[Tensor, "n v"]
    labels: list[ObjectLabel]

    def __len__(self) -> int:
        return len(self.labels)

    def split(self, every: int) -> tuple[ObjectDataset, ObjectDataset]:
        """Split into a training set and a validation set of every ``every``-th group of peers."""
        groups = {id(members): members for members in self._peer_rows}.values()
        held_out = torch.zeros(len(self), dtype=torch.bool)
        for members in list(groups)[::every]:
            held_out[members] = True
        return self._select(~held_out), self._select(held_out)

    def to(self, device: torch.device | str) -> ObjectDataset:
        """Move the layers, so that batches are colorized on ``device``; random draws stay on the CPU."""
        return replace(self, layers=self.layers.to(device), occupancy=self.occupancy.to(device))

    def _select(self, mask: Bool[Tensor, " n"]) -> ObjectDataset:
        selected: dict[str, Any] = {k: v[mask] for k, v in vars(self).items() if isinstance(v, Tensor)}
        return ObjectDataset(**selected, labels=list(itertools.compress(self.labels, mask)))

    def batch(self, num_objects: int, views: int, *, generator: torch.Generator) -> TrainingBatch:
        """Sample random objects in random colors, from ``views`` of their cameras."""
        rows = torch.randint(len(self), (num_objects,), generator=generator)
        stored_views = self.layers.shape[1]
        columns = torch.stack([torch.randperm(stored_views, generator=generator)[:views] for _ in range(num_objects)])
        specs = [_sample_colored_spec(self.labels[int(r)], generator=generator) for r in rows]
        colors = torch.tensor([spec.part_colors() for spec in specs])  # (g part rgb)
        colors = colors + _COLOR_JITTER * (torch.rand(colors.shape, generator=generator) * 2 - 1)
        peer_layers, peers = self._gather_peers(rows, columns, colors.clamp(0, 1))
        peer_shading = [layers[:, :, :-1] for layers in peer_layers]
        own_index = [int((self._peer_rows[int(row)] == row).nonzero()) for row in rows]
        return TrainingBatch(
            torch.stack([p[i] for p, i in zip(peers, own_index, strict=True)]),
            [spec.tokens() for spec in specs],
            self.azimuth_deg[rows[:, None], columns],
            self.elevation_deg[rows[:, None], columns],
            peers,
            shading=torch.stack([p[i] for p, i in zip(peer_shading, own_index, strict=True)]),
            peer_shading=peer_shading,
            caption_colors=self._sample_caption_colors(CAPTION_COLORS_PER_BATCH, generator=generator),
            occupancy=self._gather_occupancy(rows),
        )

    def _gather_peers(
        self, rows: Tensor, columns: Tensor, colors: Float[Tensor, "g part rgb"]
    ) -> tuple[list[Float[Tensor, "_ v 6 h w"]], list[Float[Tensor, "_ v 4 h w"]]]:
        """Layers and images of each row's peers, gathered and colorized in one operation for the GPU."""
        peer_rows = [self._peer_rows[int(row)] for row in rows]
        stored_views, views = self.layers.shape[1], columns.shape[1]
        sizes = [len(a) * views for a in peer_rows]
        index = torch.cat([(a[:, None] * stored_views + c).flatten() for a, c in zip(peer_rows, columns, strict=True)])
        layers = self.layers.flatten(0, 1)[index.to(self.layers.device)].float() / 255
        images = _colorize(layers, colors.repeat_interleave(torch.tensor(sizes), 0))
        peer_layers, peers = ([p.unflatten(0, (-1, views)) for p in t.split(sizes)] for t in (layers, images))
        return peer_layers, peers

    def _gather_occupancy(self, rows: Tensor) -> Float[Tensor, "g z y x"]:
        """Mean occupancy over the peers of each row."""
        peer_rows = [self._peer_rows[int(row)] for row in rows]
        cells = self.occupancy[torch.cat(peer_rows).to(self.occupancy.device)].float() / 255
        return segment_means(list(cells.split([len(a) for a in peer_rows])))

    def _sample_caption_colors(self, count: int, *, generator: torch.Generator) -> CaptionColors:
        rows = torch.randint(len(self), (count,), generator=generator).tolist()
        specs = [_sample_colored_spec(self.labels[row], generator=generator) for row in rows]
        return CaptionColors([spec.tokens() for spec in specs], torch.tensor([spec.part_colors() for spec in specs]))

    def sample_images(
        self, count: int, *, generator: torch.Generator
    ) -> tuple[Float[Tensor, "{count} 4 h w"], list[ObjectSpec]]:
        """Sample single images of random objects, with their specs.

        Held-out colors are included, because an evaluator must know them.
        """
        rows = torch.randint(len(self), (count,), generator=generator)
        columns = torch.randint(self.layers.shape[1], (count,), generator=generator)
        specs = [_sample_colored_spec(self.labels[int(r)], generator=generator, include_held_out=True) for r in rows]
        colors = torch.tensor([spec.part_colors() for spec in specs])
        return _colorize(self.layers[rows, columns].float() / 255, colors), specs

    @cached_property
    def _peer_rows(self) -> list[Tensor]:
        """Rows that share the cameras of each row, including itself."""
        _, group, counts = torch.unique(
            torch.cat([self.azimuth_deg, self.elevation_deg], 1), dim=0, return_inverse=True, return_counts=True
        )
        members = torch.argsort(group, stable=True).split(counts.tolist())
        return [members[g] for g in group.tolist()]

    def save(self, path: Path) -> None:
        """Save as a safetensors shard; its keys are those of existing caches."""
        tensors = {
            "planes": self.layers,
            "solids": self.occupancy,
            "azimuth_deg": self.azimuth_deg,
            "elevation_deg": self.elevation_deg,
        }
        labels = [{SLOT_KEYS[field]: value for field, value in vars(label).items()} for label in self.labels]
        with atomic_write(path) as temporary:
            save_file(tensors, temporary, metadata={"labels": json.dumps(labels)})


def segment_means(segments: list[Float[Tensor, "_ *shape"]]) -> Float[Tensor, "n *shape"]:
    """Mean of each segment over its rows, in a constant number of operations."""
    rows = torch.cat(segments)
    sizes = torch.tensor([len(segment) for segment in segments])
    segment_index = torch.arange(len(segments)).repeat_interleave(sizes).to(rows.device)
    weight = (1 / sizes).repeat_interleave(sizes).to(rows.device).view(-1, *[1] * (rows.dim() - 1))
    return rows.new_zeros(len(segments), *rows.shape[1:]).index_add_(0, segment_index, rows * weight)


def _colorize(layers: Float[Tensor, "k 6 h w"], colors: Float[Tensor, "k part rgb"]) -> Float[Tensor, "k 4 h w"]:
    rgb = torch.einsum("kphw,kpc->kchw", layers[:, :-1], colors.to(layers.device))
    return torch.cat([rgb, layers[:, -1:]], 1) * 2 - 1


def load_dataset(folder: Path) -> ObjectDataset:
    """Load and concatenate all shards of a cache folder."""
    *tensors, labels = zip(*(_load_shard(path) for path in list_shards(folder)), strict=True)
    fields: list[Any] = [*map(torch.cat, tensors), list(itertools.chain(*labels))]
    return ObjectDataset(*fields)


def list_shards(folder: Path) -> list[Path]:
    """List the shards of a cache, without temporary files of killed processes."""
    return sorted(path for path in folder.glob("*.safetensors") if not path.name.startswith("."))


def _load_shard(path: Path) -> tuple[Any, ...]:
    """Return the fields of `ObjectDataset`."""
    with safe_open(path, framework="pt") as stream:
        labels = json.loads(stream.metadata()["labels"])
        labels = [ObjectLabel(**{SLOTS_BY_KEY[key]: value for key, value in label.items()}) for label in labels]
        return *map(stream.get_tensor, ("planes", "solids", "azimuth_deg", "elevation_deg")), labels


def render_dataset(
    num_objects: int,
    num_views: int = 6,
    *,
    categories: list[str] | None = None,
    image_size: int | None = None,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[int, ObjectDataset | None]]:
    """Render random objects from random cameras on ``device``; the dataset is stored on the CPU.

    Every category is equally likely, and so is every form of it (count, option, style), because the prior must
    distinguish them. Up to `MAX_PEERS` objects of one label share their cameras.

    Args:
        image_size: Edge of the images in pixels (default: `TRAIN_IMAGE_SIZE`).

    Yields:
        (number of objects rendered so far, None), and finally (number of objects, dataset).
    """
    forms = {
        name: [(c, o, s) for c, o in CATEGORIES[name].variants() for s in CATEGORIES[name].style_names]
        for name in categories or CATEGORIES
    }
    variants = [(name, *form) for name, forms_of_category in forms.items() for form in forms_of_category]
    weights = torch.tensor([1 / len(forms[name]) for name, *_ in variants])
    choices = torch.multinomial(weights, num_objects, replacement=True, generator=generator)
    counts = torch.bincount(choices, minlength=len(variants)).tolist()
    image_size = image_size or TRAIN_IMAGE_SIZE
    rows: list[tuple[Tensor, ...]] = []
    labels: list[ObjectLabel] = []
    for (category, count, option, style), num_of_variant in zip(variants, counts, strict=True):
        for start in range(0, num_of_variant, MAX_PEERS):
            n = min(MAX_PEERS, num_of_variant - start)
            size = _sample_weighted(_SIZE_WEIGHTS, generator)
            material = _sample_weighted(_material_weights(category), generator)
            cameras = sample_orbit_cameras(num_views, generator=generator, size=image_size, spread=False)
            objects = sample_objects(category, count, size, n, option=option, style=style, generator=generator)
            layers = _render_layers(objects, material, cameras, device)
            occupancy = (object_occupancy(objects) * 255).round().to(torch.uint8)
            rows.append((layers, occupancy, cameras.azimuth_deg.expand(n, -1), cameras.elevation_deg.expand(n, -1)))
            labels += [ObjectLabel(category, count, size, material, option, style)] * n
            yield len(labels), None
    fields: list[Any] = [*map(torch.cat, zip(*rows, strict=True)), labels]
    yield len(labels), ObjectDataset(*fields)


def _render_layers(
    objects: ObjectBatch, material: str, cameras: OrbitCameras, device: torch.device | str
) -> UInt8[Tensor, "n v 6 h w"]:
    """Render the layers of each object from every camera."""
    n, v = len(objects), len(cameras)
    views = cameras.select(torch.arange(v).repeat(n)).to(device)
    rendered = render_objects(objects[torch.arange(n).repeat_interleave(v)].to(device), views, material)
    layers = torch.cat([rendered.shading, rendered.opacity[:, None]], 1)
    return (layers.clamp(0, 1) * 255).round().to(torch.uint8).cpu().unflatten(0, (n, v))


def _sample_weighted(weights: dict[str, float], generator: torch.Generator) -> str:
    return list(weights)[int(torch.multinomial(torch.tensor(list(weights.values())), 1, generator=generator))]


def _material_weights(category: str) -> dict[str, float]:
    _, *others = CATEGORIES[category].materials  # all but plain
    return {"plain": 0.55 if others else 1.0, **{m: 0.45 / len(others) for m in others}}


def _sample_colored_spec(
    label: ObjectLabel, *, generator: torch.Generator, include_held_out: bool = False
) -> ObjectSpec:
    """Sample colors for a stored object, rejecting held-out pairs unless they are included."""
    names = list(COLORS)
    while True:
        a, b = torch.rand(2, generator=generator).tolist()
        i, j = torch.randint(len(COLORS), (2,), generator=generator).tolist()
        color, second_color = "natural" if a < 0.25 else names[i], "default" if b < 0.7 else names[j]
        spec = ObjectSpec(**vars(label), color=color, second_color=second_color)
        if include_held_out or not spec.is_held_out():
            return spec


def batch_cameras(batch: TrainingBatch) -> OrbitCameras:
    """Return the cameras of the batch, flattened to (g v)."""
    size = batch.images.shape[-1]
    return orbit_cameras(batch.azimuth_deg.flatten(), batch.elevation_deg.flatten(), height=size, width=size)
