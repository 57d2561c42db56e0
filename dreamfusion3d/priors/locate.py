"""Where a prior lies and how much memory it takes, without loading it or asking the network."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dreamfusion3d.core import plugins
from dreamfusion3d.core.config import PriorConfig
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.loading import PLUGINS, is_pixel_folder
from dreamfusion3d.priors.vocabulary import EMBEDDED, folder_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Whereabouts:
    """A prior by name, in the order of ``load_prior``; "absent" ones are nowhere on this machine."""

    name: str
    state: Literal["embedded", "folder", "plug-in", "cached", "absent"]
    path: Path | None = None  # of a plug-in none is known
    hub: bool = False  # an absent one whose name is a hub id: a run would fetch it

    @property
    def here(self) -> bool:
        return self.state != "absent"


def find(settings: PriorConfig) -> Whereabouts:
    from dreamfusion3d.priors.pretrained import families, hub

    name, folder = settings.name, folder_of(settings.name)
    if name == EMBEDDED:
        return Whereabouts(name, "embedded", folder)
    if folder.is_dir():
        return Whereabouts(name, "folder", folder)
    if name in plugins.names(PLUGINS):
        return Whereabouts(name, "plug-in")
    if not hub.is_hub_id(name):
        return Whereabouts(name, "absent")

    def parts_of(index: dict[str, object]) -> list[str]:
        return families.parts_of(index, name, settings)

    kept = None
    with contextlib.suppress(ValueError):  # no name that the hub would give
        kept = hub.cached(name, settings.revision, hub.INDEX)
    if kept is not None and hub.whole(kept, settings.variant, parts_of):
        return Whereabouts(name, "cached", kept)
    return Whereabouts(name, "absent", hub=True)


def memory(found: Whereabouts, settings: PriorConfig, device: torch.device) -> int | None:
    """Bytes that the weights take on ``device``: the networks together, or the text encoders if those
    are larger (they are freed before the first step). What the steps need comes on top. None where
    nobody can tell: a plug-in, a model that is not here, or one of another kind."""
    from dreamfusion3d.priors.pretrained import families
    from dreamfusion3d.priors.pretrained.diffusers_folder import Folder, chosen

    if found.path is None:
        return None
    if found.state == "embedded" or is_pixel_folder(found.path):
        # float32, cast as it computes
        return 4 * sum(map(parameters, found.path.glob("*/*.safetensors")))
    folder = Folder(found.path, settings.variant)
    reading, drawing = 0, 0
    try:
        family = families.family_of(folder.index(), str(found.path))
        for part in family.parts:
            if not folder.lists(part) or part == "scheduler" or part.startswith("tokenizer"):
                continue
            weights, _ = chosen(folder.names(part), part, settings.variant, str(found.path))
            count = sum(parameters(found.path / part / name) for name in weights)
            if part.startswith("text"):
                reading += count
            else:
                drawing += count
    except InputError:
        return None
    flow = family.network == "transformer"
    return max(reading, drawing) * families.dtype_of(settings.dtype, device, flow=flow).itemsize


def parameters(path: Path) -> int:
    """How many numbers a safetensors file holds, from its header; 0 for one that is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stream:
            return sum(math.prod(stream.get_slice(name).get_shape()) for name in stream.keys())  # noqa: SIM118
    except (OSError, SafetensorError):
        return 0
