"""Losses that a frozen prior gives to pictures. Nothing here knows of 3D."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core import plugins
from dreamfusion3d.core.config import GUIDANCE_GROUP, GuidanceConfig
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.guidance.csd import csd
from dreamfusion3d.guidance.ism import ism
from dreamfusion3d.guidance.protocol import Guidance, Guide, Guided, Stateless, Teacher, noise_like
from dreamfusion3d.guidance.sds import sds
from dreamfusion3d.guidance.vsd import Vsd, vsd

__all__ = [
    "Guidance", "Guide", "Guided", "Stateless", "Teacher", "Vsd", "csd", "ism", "load_guidance", "sds", "vsd",
]


def load_guidance(
    settings: GuidanceConfig, *, device: torch.device | str = "cpu",
    warn: Callable[[str], None] = lambda line: None,
) -> Guidance:
    """The guidance called ``settings.kind``: one of ours, or an entry point of another package.

    An entry point of the group ``dreamfusion3d.guidance`` names a function like a ``Guide``, or
    a class whose instances, made of the settings and the device, are a ``Guidance``. A broken
    one is named to ``warn`` and passed over; raises InputError when none is left.
    """
    if settings.kind in _FUNCTIONS:
        return Stateless(_FUNCTIONS[settings.kind])
    if settings.kind == "vsd":
        return Vsd(settings, torch.device(device))
    found, problems = plugins.load(GUIDANCE_GROUP, settings.kind)
    if found is None:
        why = "; ".join(problems) or "no installed package offers it"
        raise InputError(
            f"the guidance {settings.kind!r} cannot be had: {why}. Choose another by --guidance, as sds"
        )
    for problem in problems:
        warn(f"guidance {problem}; another package's is used")
    if isinstance(found, type):
        return found(settings, torch.device(device))
    return Stateless(found)


def _sds(
    x: Float[Tensor, "b c u v"], t: Float[Tensor, " b"], teacher: Teacher, *, generator: torch.Generator
) -> Guided:
    return sds(
        x, t, teacher.alpha_sigma(t), teacher.denoise,
        noise=noise_like(x, generator), weighting=teacher.settings.weighting,
    )


def _csd(
    x: Float[Tensor, "b c u v"], t: Float[Tensor, " b"], teacher: Teacher, *, generator: torch.Generator
) -> Guided:
    return csd(
        x, t, teacher.alpha_sigma(t), teacher.conditional, teacher.unconditional,
        noise=noise_like(x, generator), scale=teacher.settings.scale, weighting=teacher.settings.weighting,
    )


def _ism(
    x: Float[Tensor, "b c u v"], t: Float[Tensor, " b"], teacher: Teacher, *, generator: torch.Generator
) -> Guided:
    settings = teacher.settings
    return ism(
        x, t, teacher.alpha_sigma, teacher.denoise, teacher.unconditional,
        noise=noise_like(x, generator), interval=settings.ism_interval, stride=settings.ism_stride,
        weighting=settings.weighting,
    )


_FUNCTIONS: dict[str, Guide] = {"sds": _sds, "csd": _csd, "ism": _ism}
