"""A folder of asset networks with an index, and the objects that they describe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.files import write_json
from dreamfusion3d.core.types import ObjectHeight
from dreamfusion3d.priors.assets.captions import CaptionMatch, match_captions
from dreamfusion3d.priors.assets.metadata import LibraryRecord
from dreamfusion3d.priors.assets.network import AssetNetwork
from dreamfusion3d.priors.assets.recolor import paint_palette, paint_words
from dreamfusion3d.priors.distance_solid import DistanceSolid
from dreamfusion3d.priors.weights import load_network

INDEX_FILE = "index.json"
TRAINING_COMMAND = "train-prior --assets-from"


@dataclass(frozen=True)
class AssetEntry:
    """An asset of the index.

    Attributes:
        name: Name of its network's file.
        record: What the library says of it.
        library: Name of the library's folder.
        preferred: Whether it is drawn also for prompts that a procedural category serves as well.
    """

    name: str
    record: LibraryRecord
    library: str = ""
    preferred: bool = True


@dataclass(frozen=True)
class AssetSolid(DistanceSolid):
    """A field whose surface is that of an asset, with its materials or those that a prompt names."""

    network: AssetNetwork
    entry: AssetEntry
    palette: Float[Tensor, "k 5"]

    @property
    def instance(self) -> dict[str, Any]:
        """Which asset it is, with its credits."""
        record = self.entry.record
        return {"asset": self.entry.name, "file_name": record.file_name, "text": record.text, **record.credits}

    @property
    def height(self) -> ObjectHeight | None:
        """Height of the asset, if the library's metadata states it."""
        meters = self.entry.record.height_m
        return None if meters is None else ObjectHeight(meters, f"height of the asset {self.entry.name}")

    @torch.no_grad()
    def distance(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Return the signed distance, negative inside, in scene units."""
        return self.network.query(x)[:, 0]

    @torch.no_grad()
    def appearance(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 5"]:
        """Return base color, roughness and metallic."""
        return self.network.mix(self.network.query(x)[:, 1:], self.palette)


class AssetModel:
    """The asset networks of a folder, loaded when they are first used. Without an index, there are none."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        self.folder, self.device = folder, device
        self.entries = read_index(folder)
        self._networks: dict[str, AssetNetwork] = {}

    @cached_property
    def captions(self) -> list[str]:
        """Captions of the entries, in order; several may be equal."""
        return [entry.record.text for entry in self.entries]

    def match(self, prompt: str) -> CaptionMatch | None:
        """Return the entries that fit a prompt, and its words that have no effect; None if there are none.

        Of entries that fit as well, preferred ones hide the others.
        """
        match = match_captions(prompt, self.captions)
        if match is None:
            return None
        preferred = [row for row in match.rows if self.entries[row].preferred]
        painted = paint_words(match.adjectives)
        missing = [word for word in match.missing if word not in painted]
        return CaptionMatch(preferred or match.rows, missing, match.adjectives)

    def sample(self, match: CaptionMatch, *, generator: torch.Generator) -> AssetSolid:
        """Draw one of the entries of a `match`, in the color and material that its prompt names.

        Raises InputError if the network is damaged.
        """
        entry = self.entries[match.rows[int(torch.randint(len(match.rows), (), generator=generator))]]
        return self.solid_of(entry, paint_words(match.adjectives))

    def solid_of(self, entry: AssetEntry, paint: Sequence[str] = ()) -> AssetSolid:
        """Return an entry as a solid, in the colors and materials ``paint``. Raises InputError as ``sample``."""
        if entry.name not in self._networks:
            network, _ = load_network(AssetNetwork, self.folder / f"{entry.name}.safetensors", TRAINING_COMMAND)
            self._networks[entry.name] = network.to(self.device)
        network = self._networks[entry.name]
        return AssetSolid(network, entry, paint_palette(network.palette, paint))


def write_index(folder: Path, entries: list[AssetEntry]) -> None:
    """Write the index of a folder of networks."""
    assets = [{**asdict(entry), "record": asdict(entry.record)} for entry in entries]
    write_json(folder / INDEX_FILE, {"assets": assets})


def read_index(folder: Path) -> list[AssetEntry]:
    """Return the entries; none without an index. Raises InputError if it is damaged."""
    path = folder / INDEX_FILE
    if not path.is_file():
        return []
    try:
        assets = json.loads(path.read_text(encoding="utf-8"))["assets"]
        return [_parse_entry(asset) for asset in assets]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error}); delete it and run {TRAINING_COMMAND} again") from None


def _parse_entry(asset: dict[str, Any]) -> AssetEntry:
    record = asset["record"]
    height, credits = record["height_m"], {str(key): str(value) for key, value in record["credits"].items()}
    return AssetEntry(
        str(asset["name"]),
        LibraryRecord(
            str(record["file_name"]), str(record["text"]), credits, None if height is None else float(height)
        ),
        str(asset["library"]),
        bool(asset["preferred"]),
    )
