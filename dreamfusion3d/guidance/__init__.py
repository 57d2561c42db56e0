"""Score distillation losses: a frozen diffusion prior guides images. Nothing here depends on 3D.

To add one: a module with the function and its equation, a class in this file, a row of `_STATELESS` (or a branch of
`load_guidance` if it has a state), and its name in `BUILTIN_GUIDANCES` of `core/config/schema.py`. Other packages use
the entry point ``dreamfusion3d.guidance``. The package imports `core` only (`tests/test_house.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from dreamfusion3d.core import plugins
from dreamfusion3d.core.config import BUILTIN_GUIDANCES, GUIDANCE_GROUP, GuidanceConfig
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.guidance.csd import csd
from dreamfusion3d.guidance.ism import ism
from dreamfusion3d.guidance.protocol import (
    FunctionGuidance,
    Guidance,
    GuidanceFunction,
    GuidanceOutput,
    ScoreModel,
    StatelessGuidance,
    noise_like,
    per_image,
)
from dreamfusion3d.guidance.sds import sds
from dreamfusion3d.guidance.vsd import VsdGuidance, vsd

__all__ = [
    "FunctionGuidance",
    "Guidance",
    "GuidanceFunction",
    "GuidanceOutput",
    "ScoreModel",
    "VsdGuidance",
    "csd",
    "ism",
    "load_guidance",
    "per_image",
    "sds",
    "vsd",
]


def load_guidance(
    settings: GuidanceConfig, *, device: torch.device | str = "cpu", warn: Callable[[str], None] = lambda line: None
) -> Guidance:
    """Load the guidance ``settings.type``: a built-in one, or a plugin of another package.

    An entry point of the group ``dreamfusion3d.guidance`` names a `GuidanceFunction`, or a class that is called with
    the settings and the device and returns a `Guidance`.

    Args:
        settings: Settings of the guidance.
        device: Device of a guidance that trains a network.
        warn: Receives one line per plugin that cannot be imported; such a plugin is skipped.

    Returns:
        A callable ``(x, t, score_model, *, generator) -> GuidanceOutput`` with ``state_dict`` and ``load_state_dict``.

    Raises:
        InputError: No installed package provides a working guidance of this name.

    Example:
        >>> guidance = load_guidance(Config().guidance)
        >>> guidance.state_dict()
        {}
    """
    if settings.type in _STATELESS:
        return _STATELESS[settings.type]()
    if settings.type == "vsd":
        return VsdGuidance(settings, torch.device(device))
    guidance, problems = plugins.load_plugin(GUIDANCE_GROUP, settings.type)
    if guidance is None:
        reason = "; ".join(problems) or "no installed package provides it"
        names = ", ".join(BUILTIN_GUIDANCES)
        raise InputError(f"unknown guidance {settings.type!r}: {reason}. Use one of {names} with --guidance")
    for problem in problems:
        warn(f"guidance {problem}; using the one of another package")
    if isinstance(guidance, type):
        return guidance(settings, torch.device(device))
    return FunctionGuidance(guidance)


class SdsGuidance(StatelessGuidance):
    """`sds` with noise from the generator and the settings of the run."""

    def __call__(self, x: Tensor, t: Tensor, score_model: ScoreModel, *, generator: torch.Generator) -> GuidanceOutput:
        noise, weighting = noise_like(x, generator), score_model.settings.weighting
        return sds(x, t, score_model.alpha_sigma(t), score_model.denoise, noise=noise, weighting=weighting)


class CsdGuidance(StatelessGuidance):
    """`csd` with noise from the generator and the settings of the run."""

    def __call__(self, x: Tensor, t: Tensor, score_model: ScoreModel, *, generator: torch.Generator) -> GuidanceOutput:
        settings, predictions = score_model.settings, (score_model.conditional, score_model.unconditional)
        alpha_sigma, noise = score_model.alpha_sigma(t), noise_like(x, generator)
        return csd(x, t, alpha_sigma, *predictions, noise=noise, scale=settings.scale, weighting=settings.weighting)


class IsmGuidance(StatelessGuidance):
    """`ism` with noise from the generator and the settings of the run."""

    def __call__(self, x: Tensor, t: Tensor, score_model: ScoreModel, *, generator: torch.Generator) -> GuidanceOutput:
        settings, predictions = score_model.settings, (score_model.denoise, score_model.unconditional)
        run = functools.partial(ism, interval=settings.ism_interval, stride=settings.ism_stride)
        noise, weighting = noise_like(x, generator), settings.weighting
        return run(x, t, score_model.alpha_sigma, *predictions, noise=noise, weighting=weighting)


_STATELESS: dict[str, Callable[[], Guidance]] = {"sds": SdsGuidance, "csd": CsdGuidance, "ism": IsmGuidance}
