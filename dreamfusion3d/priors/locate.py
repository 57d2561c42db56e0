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
from dreamfusion3d.priors.loading import PRIOR_PLUGIN_GROUP, is_pixel_prior_folder
from dreamfusion3d.priors.vocabulary import EMBEDDED, prior_folder

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PriorLocation:
    """A prior by name, in the order of ``load_prior``; "absent" ones are nowhere on this machine."""

    name: str
    state: Literal["embedded", "folder", "plug-in", "cached", "absent"]
    path: Path | None = None  # of a plug-in none is known
    is_downloadable: bool = False  # an absent one whose name is a hub id: a run would fetch it

    @property
    def is_available(self) -> bool:
        return self.state != "absent"


def locate_prior(settings: PriorConfig) -> PriorLocation:
    from dreamfusion3d.priors.pretrained import families, hub

    name, folder = settings.name, prior_folder(settings.name)
    if name == EMBEDDED:
        return PriorLocation(name, "embedded", folder)
    if folder.is_dir():
        return PriorLocation(name, "folder", folder)
    if name in plugins.plugin_names(PRIOR_PLUGIN_GROUP):
        return PriorLocation(name, "plug-in")
    if not hub.is_hub_id(name):
        return PriorLocation(name, "absent")

    def parts_of(index: dict[str, object]) -> list[str]:
        return families.required_parts(index, name, settings)

    snapshot = None
    with contextlib.suppress(ValueError):  # no name that the hub would give
        snapshot = hub.cached_snapshot(name, settings.revision, hub.MODEL_INDEX)
    if snapshot is not None and hub.is_snapshot_complete(snapshot, settings.variant, parts_of):
        return PriorLocation(name, "cached", snapshot)
    return PriorLocation(name, "absent", is_downloadable=True)


def prior_weight_bytes(location: PriorLocation, settings: PriorConfig, device: torch.device) -> int | None:
    """Bytes that the weights take on ``device``: the networks together, or the text encoders if those
    are larger (they are freed before the first step). What the steps need comes on top. None where
    nobody can tell: a plug-in, a model that is not here, or one of another kind."""
    from dreamfusion3d.priors.pretrained import families
    from dreamfusion3d.priors.pretrained.diffusers_folder import DiffusersFolder, select_weights

    if location.path is None:
        return None
    if location.state == "embedded" or is_pixel_prior_folder(location.path):
        # float32, cast as it computes
        return 4 * sum(map(count_parameters, location.path.glob("*/*.safetensors")))
    folder = DiffusersFolder(location.path, settings.variant)
    text_parameters, denoiser_parameters = 0, 0
    try:
        family = families.find_family(folder.index(), str(location.path))
        for part in family.parts:
            if not folder.has_part(part) or part == "scheduler" or part.startswith("tokenizer"):
                continue
            weights, _ = select_weights(folder.file_names(part), part, settings.variant, str(location.path))
            count = sum(count_parameters(location.path / part / name) for name in weights)
            if part.startswith("text"):
                text_parameters += count
            else:
                denoiser_parameters += count
    except InputError:
        return None
    flow = family.network_part == "transformer"
    return (
        max(text_parameters, denoiser_parameters) * families.resolve_dtype(settings.dtype, device, flow=flow).itemsize
    )


def count_parameters(path: Path) -> int:
    """How many numbers a safetensors file holds, from its header; 0 for one that is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stream:
            return sum(math.prod(stream.get_slice(name).get_shape()) for name in stream.keys())  # noqa: SIM118
    except (OSError, SafetensorError):
        return 0
