"""Frozen diffusion priors behind one protocol, loaded by name, folder, hub id or plug-in."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from dreamfusion3d.core import plugins
from dreamfusion3d.core.config import PriorConfig
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.vocabulary import EMBEDDED, folder_of

if TYPE_CHECKING:
    import torch

    from dreamfusion3d.priors.pixel.prior import PixelPrior
    from dreamfusion3d.priors.protocol import Prior

PLUGINS = "dreamfusion3d.priors"  # entry points


def load_prior(name: str | PriorConfig = EMBEDDED, *, device: torch.device | str = "cpu") -> Prior:
    """The prior called ``name``, or by all that its settings say: "embedded", a folder that
    ``train-prior`` wrote or that is in diffusers' format, an installed plug-in, or a hub id; the first
    of these that it is the name of.

    Raises InputError when there is none, or it is gated, gone, damaged, pickled or of another kind.
    """
    import torch

    with torch.random.fork_rng(devices=[]):  # modules draw weights from it before they get their own
        return _load(PriorConfig(name=name) if isinstance(name, str) else name, device)


def _load(settings: PriorConfig, device: torch.device | str) -> Prior:
    where = _device(settings.device, device)
    folder = folder_of(settings.name)
    if settings.name == EMBEDDED or is_pixel_folder(folder):
        # small, and on the run's own device
        half = settings.dtype != "float32"
        return load_pixel_prior(settings.name, device=device, half=half, graph=settings.graph)
    if folder.is_dir():
        from dreamfusion3d.priors.pretrained import families

        return families.load(folder, folder.resolve().name, settings, where)
    if folder.is_file():
        raise InputError(
            f"{folder} is a file; a prior is a folder in diffusers' format, with .safetensors in it. "
            "diffusers makes one of a single file: from_single_file(...).save_pretrained(FOLDER)"
        )
    plugin = _plugin(settings, where)
    if plugin is not None:
        return plugin
    from dreamfusion3d.priors.pretrained import hub

    if not hub.is_hub_id(settings.name):
        return load_pixel_prior(settings.name, device=where)  # says that there is no such folder
    from dreamfusion3d.priors.pretrained import families

    path = hub.fetch(
        settings.name, settings.revision, settings.variant,
        lambda index: families.parts_of(index, f"the hub's {settings.name}", settings),
    )
    return families.load(path, settings.name, settings, where)


def is_there(name: str) -> bool:
    """Whether ``name`` is that of a file or folder, of an installed plug-in, or has the form of a hub id;
    nothing is loaded or fetched."""
    from dreamfusion3d.priors.pretrained import hub

    return folder_of(name).exists() or name in plugins.names(PLUGINS) or hub.is_hub_id(name)


def load_pixel_prior(
    name: str = EMBEDDED, *, device: torch.device | str = "cpu", half: bool = True, graph: bool = False
) -> PixelPrior:
    """The embedded prior, or a folder that ``train-prior`` wrote. Raises InputError for any other."""
    import torch

    from dreamfusion3d.priors.pixel.prior import PixelPrior

    folder = folder_of(name)
    known_as = EMBEDDED if name == EMBEDDED else folder.name
    with torch.random.fork_rng(devices=[]):  # as in load_prior
        return PixelPrior(folder, known_as, device=device, half=half, graph=graph)


def _plugin(settings: PriorConfig, device: torch.device) -> Prior | None:
    """What an installed package makes under this name (entry points of PLUGINS, each a function of the
    settings and the device); None when none offers it. A broken one is named and passed over."""
    from dreamfusion3d.priors.protocol import Prior

    make, problems = plugins.load(PLUGINS, settings.name)
    if make is None:
        if problems:
            raise InputError(
                f"the prior {problems[0]}; mend or remove that package, or give another prior with --prior"
            )
        return None
    for problem in problems:
        warnings.warn(f"the prior {problem}; passed over", stacklevel=3)
    prior = make(settings, device)
    if not isinstance(prior, Prior):
        raise InputError(
            f"the prior {settings.name!r} of an installed package is a {type(prior).__name__} without what a "
            "Prior has (dreamfusion3d/priors/protocol.py); mend that package, or give another with --prior"
        )
    return prior


def is_pixel_folder(folder: Path) -> bool:
    """Whether ``train-prior`` wrote it: by its index, or by its conditioner."""
    if (folder / "conditioner").is_dir():
        return True
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        return bool(index["_class_name"] == "PixelPrior")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _device(wanted: str, given: torch.device | str) -> torch.device:
    """prior.device, or the run's."""
    import torch

    if wanted == "auto":
        return torch.device(given)
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise InputError(f"prior.device = {wanted!r} is not one of auto, cpu, cuda, cuda:1") from None
    if device.type not in ("cpu", "cuda") or (
        device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    ):
        raise InputError(f"prior.device = {wanted!r}: there is no such device here; leave it at auto")
    return device
