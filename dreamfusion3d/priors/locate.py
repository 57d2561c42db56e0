"""Location and memory of a prior, found without loading it or using the network connection."""

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
from dreamfusion3d.priors.vocabulary import EMBEDDED, SHAPES_FOLDER, prior_folder

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PriorLocation:
    """Where ``load_prior`` would find a prior; "absent" means nowhere on this machine."""

    name: str
    state: Literal["embedded", "folder", "plug-in", "cached", "absent"]
    path: Path | None = None  # None for plug-ins
    is_downloadable: bool = False  # absent, but its name is a hub id: a run would fetch it

    @property
    def is_available(self) -> bool:
        return self.state != "absent"


def locate_prior(settings: PriorConfig) -> PriorLocation:
    """Find the prior that ``load_prior`` would load, without loading or fetching anything."""
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

    snapshot = None
    with contextlib.suppress(ValueError):  # not a valid name on the hub
        snapshot = hub.cached_snapshot(name, settings.revision, hub.MODEL_INDEX)
    if snapshot is not None and hub.is_snapshot_complete(
        snapshot, settings.variant, lambda index: families.required_parts(index, name, settings)
    ):
        return PriorLocation(name, "cached", snapshot)
    return PriorLocation(name, "absent", is_downloadable=True)


def prior_weight_bytes(location: PriorLocation, settings: PriorConfig, device: torch.device) -> int | None:
    """Return the bytes of a prior's weights on ``device``, without the activations of a step.

    Text encoders are freed before the first step, so only the larger of the two groups counts. None if unknown:
    for a plug-in, a model that is not on this machine, or an unsupported one.
    """
    from dreamfusion3d.priors.pretrained import families
    from dreamfusion3d.priors.pretrained.diffusers_folder import DiffusersFolder, select_weights

    if location.path is None:
        return None
    if location.state == "embedded" or is_pixel_prior_folder(location.path):
        # kept in float32, cast during computation; the networks of shapes are small, and a run loads one
        paths = [path for path in location.path.glob("*/*.safetensors") if path.parent.name != SHAPES_FOLDER]
        return 4 * sum(map(count_parameters, paths))
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
    dtype = families.resolve_dtype(settings.dtype, device, flow=family.network_part == "transformer")
    return max(text_parameters, denoiser_parameters) * dtype.itemsize


def count_parameters(path: Path) -> int:
    """Count the parameters in a safetensors file by its header; 0 for a damaged file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stream:
            return sum(math.prod(stream.get_slice(name).get_shape()) for name in stream.keys())  # noqa: SIM118
    except (OSError, SafetensorError):
        return 0
