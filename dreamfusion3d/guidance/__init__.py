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
from dreamfusion3d.guidance.protocol import (
    Guidance,
    GuidanceFunction,
    GuidanceOutput,
    ScoreModel,
    StatelessGuidance,
    noise_like,
)
from dreamfusion3d.guidance.sds import sds
from dreamfusion3d.guidance.vsd import VsdGuidance, vsd

__all__ = [
    "Guidance",
    "GuidanceFunction",
    "GuidanceOutput",
    "ScoreModel",
    "StatelessGuidance",
    "VsdGuidance",
    "csd",
    "ism",
    "load_guidance",
    "sds",
    "vsd",
]


def load_guidance(
    settings: GuidanceConfig, *, device: torch.device | str = "cpu", warn: Callable[[str], None] = lambda line: None
) -> Guidance:
    """The guidance called ``settings.kind``: one of ours, or an entry point of another package.

    An entry point of the group ``dreamfusion3d.guidance`` names a function like a ``Guide``, or
    a class whose instances, made of the settings and the device, are a ``Guidance``. A broken
    one is named to ``warn`` and passed over; raises InputError when none is left.
    """
    if settings.type in _FUNCTIONS:
        return StatelessGuidance(_FUNCTIONS[settings.type])
    if settings.type == "vsd":
        return VsdGuidance(settings, torch.device(device))
    guidance, problems = plugins.load_plugin(GUIDANCE_GROUP, settings.type)
    if guidance is None:
        reason = "; ".join(problems) or "no installed package offers it"
        raise InputError(
            f"the guidance {settings.type!r} cannot be had: {reason}. Choose another by --guidance, as sds"
        )
    for problem in problems:
        warn(f"guidance {problem}; another package's is used")
    if isinstance(guidance, type):
        return guidance(settings, torch.device(device))
    return StatelessGuidance(guidance)


def _sds(
    x: Float[Tensor, "b c u v"], t: Float[Tensor, " b"], score_model: ScoreModel, *, generator: torch.Generator
) -> GuidanceOutput:
    return sds(
        x,
        t,
        score_model.alpha_sigma(t),
        score_model.denoise,
        noise=noise_like(x, generator),
        weighting=score_model.settings.weighting,
    )


def _csd(
    x: Float[Tensor, "b c u v"], t: Float[Tensor, " b"], score_model: ScoreModel, *, generator: torch.Generator
) -> GuidanceOutput:
    return csd(
        x,
        t,
        score_model.alpha_sigma(t),
        score_model.conditional,
        score_model.unconditional,
        noise=noise_like(x, generator),
        scale=score_model.settings.scale,
        weighting=score_model.settings.weighting,
    )


def _ism(
    x: Float[Tensor, "b c u v"], t: Float[Tensor, " b"], score_model: ScoreModel, *, generator: torch.Generator
) -> GuidanceOutput:
    settings = score_model.settings
    return ism(
        x,
        t,
        score_model.alpha_sigma,
        score_model.denoise,
        score_model.unconditional,
        noise=noise_like(x, generator),
        interval=settings.ism_interval,
        stride=settings.ism_stride,
        weighting=settings.weighting,
    )


_FUNCTIONS: dict[str, GuidanceFunction] = {"sds": _sds, "csd": _csd, "ism": _ism}
