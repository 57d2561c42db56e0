"""Noise schedules and prediction types: epsilon, velocity and sample (DDPM); rectified flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
AlphaSigma = tuple[Float[Tensor, " b"], Float[Tensor, " b"]]


@runtime_checkable
class NoiseSchedule(Protocol):
    """x_t = alpha(t) x_0 + sigma(t) eps for t in [0, 1]."""

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> AlphaSigma: ...

    def timestep(self, t: Float[Tensor, " b"]) -> Tensor:
        """Convert ``t`` to the value that the network takes."""

    def x0(
        self, x_t: Float[Tensor, "b c u v"], t: Float[Tensor, " b"], output: Float[Tensor, "b c u v"]
    ) -> Float[Tensor, "b c u v"]:
        """Convert the network's ``output`` to the predicted x_0."""


@dataclass(eq=False)
class DiscreteNoiseSchedule:
    """DDPM's table of cumulative products (Ho et al., arXiv 2006.11239); t is rounded to the nearest entry."""

    alpha_bar: Float[Tensor, " n"]  # cumulative products of 1 - beta
    prediction_type: str  # v = alpha eps - sigma x_0 (Salimans and Ho, arXiv 2202.00512)

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> AlphaSigma:
        self.alpha_bar = self.alpha_bar.to(t.device)  # moved once
        alpha_bar = self.alpha_bar[self.timestep(t)]
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def timestep(self, t: Float[Tensor, " b"]) -> Tensor:
        return (t * (len(self.alpha_bar) - 1)).round().long()

    def x0(
        self, x_t: Float[Tensor, "b c u v"], t: Float[Tensor, " b"], output: Float[Tensor, "b c u v"]
    ) -> Float[Tensor, "b c u v"]:
        alpha, sigma = (c.view(-1, 1, 1, 1) for c in self.alpha_sigma(t))
        if self.prediction_type == "v_prediction":
            return alpha * x_t - sigma * output
        if self.prediction_type == "sample":
            return output
        return (x_t - sigma * output) / alpha


@dataclass(eq=False)
class RectifiedFlowSchedule:
    """Rectified flow (Liu et al., arXiv 2209.03003): alpha = 1 - t, sigma = t.

    The network predicts eps - x_0; ``num_timesteps`` is its timestep at t = 1.
    """

    num_timesteps: float

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> AlphaSigma:
        return 1 - t, t

    def timestep(self, t: Float[Tensor, " b"]) -> Tensor:
        return t * self.num_timesteps

    def x0(
        self, x_t: Float[Tensor, "b c u v"], t: Float[Tensor, " b"], output: Float[Tensor, "b c u v"]
    ) -> Float[Tensor, "b c u v"]:
        return x_t - t.view(-1, 1, 1, 1) * output
