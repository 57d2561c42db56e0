"""What a guidance is: pictures and a frozen teacher in, a loss out.

A guidance knows the teacher through three predictions of x_0 (guided, conditional,
unconditional) and the noise levels. What the pictures show, and how a prior is asked, is the
caller's business. Its gradient is a residual r times a weight, in units of the picture:

    grad_x = w r,    r = (sigma / alpha) (difference of two noise predictions)

so that every guidance can take the same weights (``weight_of``).
"""

from __future__ import annotations

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
    """A loss, and the reconstruction that it pulls towards (for previews).

    Only the loss's gradient means something: the target moves, so its value is no objective.
    """

    loss: Float[Tensor, ""]
    x0: Float[Tensor, "b c u v"]


@dataclass(frozen=True)
class ScoreModel:
    """The frozen prior before the pictures of one step.

    ``ask(x_t, t, scale)`` is its prediction of x_0 = uncond + scale (cond - uncond).
    ``condition`` tells the pictures apart, a row each (where their cameras stood); it may have
    no columns.
    """

    settings: GuidanceConfig
    alpha_sigma: Callable[[Float[Tensor, " b"]], AlphaSigma]
    predict_x0: Callable[[Float[Tensor, "b c u v"], Float[Tensor, " b"], float], Float[Tensor, "b c u v"]]
    condition: Float[Tensor, "b d"]

    def denoise(self, x_t: Float[Tensor, "b c u v"], t: Float[Tensor, " b"]) -> Float[Tensor, "b c u v"]:
        """x_0 at the scale of the settings."""
        return self.predict_x0(x_t, t, self.settings.scale)

    def conditional(self, x_t: Float[Tensor, "b c u v"], t: Float[Tensor, " b"]) -> Float[Tensor, "b c u v"]:
        """x_0 given the prompt."""
        return self.predict_x0(x_t, t, 1.0)

    def unconditional(self, x_t: Float[Tensor, "b c u v"], t: Float[Tensor, " b"]) -> Float[Tensor, "b c u v"]:
        """x_0 given no prompt."""
        return self.predict_x0(x_t, t, 0.0)


@runtime_checkable
class GuidanceFunction(Protocol):
    """A guidance that remembers nothing between steps: a function."""

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
    """A guidance with what it has learnt so far, for checkpoints."""

    def state_dict(self) -> dict[str, Tensor]:
        """All of its state by names; empty before the first step."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Become ``state``; raises KeyError, ValueError or RuntimeError when it does not fit."""
        ...


class StatelessGuidance:
    """A function as a ``Guidance``."""

    def __init__(self, function: GuidanceFunction) -> None:
        self.function = function

    def __call__(
        self,
        x: Float[Tensor, "b c u v"],
        t: Float[Tensor, " b"],
        score_model: ScoreModel,
        *,
        generator: torch.Generator,
    ) -> GuidanceOutput:
        return self.function(x, t, score_model, generator=generator)

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if state:
            raise ValueError("a guidance without a state cannot take one up")


def noise_like(x: Float[Tensor, "b c u v"], generator: torch.Generator) -> Float[Tensor, "b c u v"]:
    """Standard normal numbers in the shape of ``x``."""
    return torch.randn(x.shape, generator=generator, device=x.device)


def residual_weight(alpha: Tensor, sigma: Tensor, weighting: Weighting) -> Tensor:
    """The factor w of a residual in units of the picture.

    "x0": 1, that is MVDream's |x - x0_hat|^2 (arXiv 2308.16512, equation 5);
    "sds": alpha sigma, DreamFusion's w(t) = sigma^2 before the noise residual;
    "uniform": alpha / sigma, that is w(t) = 1 there.
    """
    if weighting == "sds":
        return alpha * sigma
    return alpha / sigma if weighting == "uniform" else torch.ones_like(alpha)


def surrogate_loss(
    x: Float[Tensor, "b c u v"], residual: Float[Tensor, "b c u v"], weight: Float[Tensor, "b 1 1 1"]
) -> Float[Tensor, ""]:
    """A loss whose gradient is ``weight * residual``, a mean over pictures and pixels."""
    return 0.5 * (weight * (x - (x - residual).detach()).square()).mean()
