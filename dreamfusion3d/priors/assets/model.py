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
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.files import atomic_write, write_json
from dreamfusion3d.core.types import ObjectHeight
from dreamfusion3d.priors.assets.captions import CaptionMatch, match_captions
from dreamfusion3d.priors.assets.metadata import LibraryRecord
from dreamfusion3d.priors.assets.network import AssetNetwork
from dreamfusion3d.priors.assets.recolor import paint_palette, paint_words

INDEX_FILE = "index.json"
_DENSITY_SCALE = 500.0  # density per scene unit of depth


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
class AssetSolid:
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

    def density(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Return the extinction per scene unit: it grows with the depth below the surface."""
        return (-_DENSITY_SCALE * self.distance(x)).clamp(min=0)

    def albedo(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Return the base color."""
        return self.appearance(x)[:, :3]

    def material(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n 2"]:
        """Return roughness and metallic."""
        return self.appearance(x)[:, 3:]

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
            network, _ = load_asset_network(self.folder / f"{entry.name}.safetensors")
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
        raise InputError(f"{path} is damaged ({error}); delete it and run train-prior --assets-from again") from None


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


def save_asset_network(network: AssetNetwork, path: Path, record: dict[str, Any]) -> None:
    """Write the weights in half precision, with ``record`` (of the training) in the header."""
    header = {"config": json.dumps(network.config), "training": json.dumps(record)}
    with atomic_write(path) as temporary:
        save_file({k: v.half().contiguous() for k, v in network.state_dict().items()}, temporary, metadata=header)


def load_asset_network(path: Path) -> tuple[AssetNetwork, dict[str, Any]]:
    """Return the network and the record of its training. Raises InputError if the file is damaged."""
    try:
        with safe_open(path, framework="pt") as stream:
            header = stream.metadata()
            weights = {key: stream.get_tensor(key).float() for key in stream.keys()}  # noqa: SIM118
        with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten
            network = AssetNetwork(**json.loads(header["config"]))
        network.load_state_dict(weights)
        return network.eval().requires_grad_(False), json.loads(header["training"])
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"the asset network {path} is damaged ({reason}); run train-prior --assets-from again"
        ) from None
