"""Interface of a guidance: images and a frozen score model in, a loss out.

A guidance sees the score model through three predictions of x_0 (guided, conditional, unconditional) and its noise
schedule. The caller decides what the images show and how the prior is queried. The gradient is a weighted residual in
image units,

    grad_x = w r,    r = (sigma / alpha) (difference of two noise predictions)

so every guidance supports the same weightings (`residual_weight`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core.config import GuidanceConfig

Denoise = Callable[[Float[Tensor, "b c u v"], Float[Tensor, " b"]], Float[Tensor, "b c u v"]]
AlphaSigma = tuple[Float[Tensor, " b"], Float[Tensor, " b"]]
Weighting = Literal["x0", "sds", "uniform"]


@dataclass(frozen=True)
class GuidanceOutput:
    """A loss, and the reconstruction x_0 that it pulls the images towards (for previews).

    Only the gradient of the loss is meaningful: the target moves, so the value is not an objective.
    """

    loss: Float[Tensor, ""]
    x0: Float[Tensor, "b c u v"]


@dataclass(frozen=True)
class ScoreModel:
    """The frozen prior, conditioned on the prompt and cameras of one step.

    Attributes:
        settings: Settings of the guidance.
        alpha_sigma: Noise schedule: signal and noise levels at times in [0, 1].
        predict_x0: ``predict_x0(x_t, t, scale=s)`` returns x_0 = uncond + s (cond - uncond).
        condition: One row per image that describes its camera; may have no columns.
    """

    settings: GuidanceConfig
    alpha_sigma: Callable[[Float[Tensor, " b"]], AlphaSigma]
    predict_x0: Callable[..., Float[Tensor, "b c u v"]]
    condition: Float[Tensor, "b d"]

    @property
    def denoise(self) -> Denoise:
        """Prediction of x_0 from ``(x_t, t)`` at the guidance scale of the settings."""
        return functools.partial(self.predict_x0, scale=self.settings.scale)

    @property
    def conditional(self) -> Denoise:
        """Prediction of x_0 from ``(x_t, t)`` given the prompt."""
        return functools.partial(self.predict_x0, scale=1.0)

    @property
    def unconditional(self) -> Denoise:
        """Prediction of x_0 from ``(x_t, t)`` without a prompt."""
        return functools.partial(self.predict_x0, scale=0.0)


@runtime_checkable
class GuidanceFunction(Protocol):
    """A guidance without state between steps: a function."""

    def __call__(
        self,
        x: Float[Tensor, "b c u v"],
        t: Float[Tensor, " b"],
        score_model: ScoreModel,
        *,
        generator: torch.Generator,
    ) -> GuidanceOutput: ...


@runtime_checkable
class Guidance(GuidanceFunction, Protocol):
    """A guidance whose state is saved in checkpoints."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return the whole state as named tensors; empty before the first step."""

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore a state. Raises KeyError, ValueError or RuntimeError if it does not fit."""


class StatelessGuidance:
    """Base of guidances without state."""

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if state:
            raise ValueError("this guidance is stateless and cannot load a state")


@dataclass(frozen=True)
class FunctionGuidance(StatelessGuidance):
    """Wrap a function as a `Guidance` without state."""

    function: GuidanceFunction

    def __call__(self, x: Tensor, t: Tensor, score_model: ScoreModel, *, generator: torch.Generator) -> GuidanceOutput:
        return self.function(x, t, score_model, generator=generator)


def noise_like(x: Float[Tensor, "b c u v"], generator: torch.Generator) -> Float[Tensor, "b c u v"]:
    """Draw standard normal noise of the shape of ``x``."""
    return torch.randn(x.shape, generator=generator, device=x.device)


def per_image(alpha_sigma: AlphaSigma) -> tuple[Float[Tensor, "b 1 1 1"], Float[Tensor, "b 1 1 1"]]:
    """Reshape per-image signal and noise levels to broadcast over images."""
    alpha, sigma = alpha_sigma
    return alpha.view(-1, 1, 1, 1), sigma.view(-1, 1, 1, 1)


def residual_weight(alpha: Tensor, sigma: Tensor, weighting: Weighting) -> Tensor:
    """Return the weight w of a residual in image units.

    "x0": 1, MVDream's |x - x0_hat|^2 (arXiv 2308.16512, equation 5);
    "sds": alpha sigma, DreamFusion's w(t) = sigma^2 on the noise residual;
    "uniform": alpha / sigma, w(t) = 1 on the noise residual.
    """
    if weighting == "sds":
        return alpha * sigma
    return alpha / sigma if weighting == "uniform" else torch.ones_like(alpha)


def surrogate_loss(
    x: Float[Tensor, "b c u v"], residual: Float[Tensor, "b c u v"], alpha: Tensor, sigma: Tensor, weighting: Weighting
) -> Float[Tensor, ""]:
    """Return a loss whose gradient is the weighted residual, averaged over images and pixels."""
    weight = residual_weight(alpha, sigma, weighting)
    return 0.5 * (weight * (x - (x - residual).detach()).square()).mean()
