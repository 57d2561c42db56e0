"""Load a prior by name: the embedded one, a folder, a plug-in or a hub id."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from dreamfusion3d.core import plugins
from dreamfusion3d.core.config import PriorConfig
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.vocabulary import EMBEDDED, prior_folder

if TYPE_CHECKING:
    import torch

    from dreamfusion3d.priors.pixel.prior import PixelPrior
    from dreamfusion3d.priors.protocol import Prior

PRIOR_PLUGIN_GROUP = "dreamfusion3d.priors"  # entry points


def load_prior(name: str | PriorConfig = EMBEDDED, *, device: torch.device | str = "cpu") -> Prior:
    """Load a prior by name or settings.

    A name is the first of these that exists: "embedded", a folder written by ``train-prior`` or in diffusers'
    format, an installed plug-in, or a hub id.

    Args:
        name: The name, or settings that contain it.
        device: Device of the network, unless the settings name another.

    Returns:
        The frozen prior.

    Raises:
        InputError: The prior does not exist, or is gated, damaged, pickled or of an unsupported family.

    Example:
        >>> prior = load_prior()
        >>> prior.name, prior.camera_conditioned
        ('embedded', True)
    """
    import torch

    with torch.random.fork_rng(devices=[]):  # modules initialize their weights before the load
        return _load_from_settings(PriorConfig(name=name) if isinstance(name, str) else name, device)


def _load_from_settings(settings: PriorConfig, device: torch.device | str) -> Prior:
    prior_device = _resolve_device(settings.device, device)
    folder = prior_folder(settings.name)
    if settings.name == EMBEDDED or is_pixel_prior_folder(folder):
        # small enough for the run's device
        options = {"mixed_precision": settings.dtype != "float32", "cuda_graph": settings.cuda_graph}
        return load_pixel_prior(settings.name, device=device, **options)
    if folder.is_dir():
        from dreamfusion3d.priors.pretrained import families

        return families.load_diffusion_prior(folder, folder.resolve().name, settings, prior_device)
    if folder.is_file():
        raise InputError(
            f"{folder} is a file; a prior is a folder in diffusers' format with .safetensors files. Convert a "
            "single file with diffusers: from_single_file(...).save_pretrained(FOLDER)"
        )
    plugin = _load_plugin(settings, prior_device)
    if plugin is not None:
        return plugin
    from dreamfusion3d.priors.pretrained import hub

    if not hub.is_hub_id(settings.name):
        return load_pixel_prior(settings.name, device=prior_device)  # raises InputError: there is no such folder
    from dreamfusion3d.priors.pretrained import families

    source = settings.name, settings.revision, settings.variant
    path = hub.fetch_snapshot(*source, lambda i: families.required_parts(i, f"the hub's {settings.name}", settings))
    return families.load_diffusion_prior(path, settings.name, settings, prior_device)


def prior_exists(name: str) -> bool:
    """Return whether ``name`` is a path, an installed plug-in or the form of a hub id. Loads and fetches nothing."""
    from dreamfusion3d.priors.pretrained import hub

    return prior_folder(name).exists() or name in plugins.plugin_names(PRIOR_PLUGIN_GROUP) or hub.is_hub_id(name)


def load_pixel_prior(
    name: str = EMBEDDED, *, device: torch.device | str = "cpu", mixed_precision: bool = True, cuda_graph: bool = False
) -> PixelPrior:
    """Load the embedded prior or a folder written by ``train-prior``. Raises InputError for anything else."""
    import torch

    from dreamfusion3d.priors.pixel.prior import PixelPrior

    folder = prior_folder(name)
    display_name = EMBEDDED if name == EMBEDDED else folder.name
    with torch.random.fork_rng(devices=[]):  # as in ``load_prior``
        return PixelPrior(folder, display_name, device=device, mixed_precision=mixed_precision, cuda_graph=cuda_graph)


def _load_plugin(settings: PriorConfig, device: torch.device) -> Prior | None:
    """Make a prior with an installed plug-in, an entry point called with the settings and the device.

    Returns None if no package provides ``settings.name``. Warns of broken packages and skips them.
    """
    from dreamfusion3d.priors.protocol import Prior

    make, problems = plugins.load_plugin(PRIOR_PLUGIN_GROUP, settings.name)
    if make is None:
        if problems:
            raise InputError(f"the prior {problems[0]}; fix or remove that package, or choose another --prior")
        return None
    for problem in problems:
        warnings.warn(f"the prior {problem}; skipped", stacklevel=3)
    prior = make(settings, device)
    if not isinstance(prior, Prior):
        raise InputError(
            f"the plug-in prior {settings.name!r} is a {type(prior).__name__}, which does not implement the Prior "
            "protocol (dreamfusion3d/priors/protocol.py); fix that package, or choose another --prior"
        )
    return prior


def is_pixel_prior_folder(folder: Path) -> bool:
    """Return whether ``train-prior`` wrote the folder, by its conditioner or its index."""
    if (folder / "conditioner").is_dir():
        return True
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        return bool(index["_class_name"] == "PixelPrior")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _resolve_device(setting: str, default: torch.device | str) -> torch.device:
    """Return the device of the setting prior.device; "auto" is the run's device."""
    import torch

    if setting == "auto":
        return torch.device(default)
    try:
        device = torch.device(setting)
    except RuntimeError:
        raise InputError(f"prior.device = {setting!r} is not a device: use auto, cpu, cuda or e.g. cuda:1") from None
    if device.type != "cpu" and (device.type != "cuda" or (device.index or 0) >= torch.cuda.device_count()):
        raise InputError(f"prior.device = {setting!r}: this machine has no such device; use auto")
    return device
