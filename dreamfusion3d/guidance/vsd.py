"""Variational score distillation (VSD, ProlificDreamer, arXiv 2305.16213, equations 8 and 9).

The pictures are samples of a distribution q, and its noise prediction eps_q is learnt while the
pictures move; its gradient replaces the noise of SDS:

    grad_x = w(t) (eps_hat(x_t; y) - eps_q(x_t; c))  =  w(t) (alpha / sigma) (x0_q - x0_hat)
    eps_q  = argmin  E |eps_q(x_t; c) - eps|^2

At rest the two scores are equal: the pictures are distributed as the prior says, where SDS runs
to its modes. The paper learns eps_q as a LoRA of the prior's network. Here it is the prior's
conditional prediction plus a small network (``score.py``), which begins at zero like a LoRA and
needs nothing of the prior but its answers, so that it serves any of them, for one small network
a step and no further question to the prior at scale 1.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core.config import GuidanceConfig
from dreamfusion3d.core.optimizers import adam_tensors, restore_adam
from dreamfusion3d.guidance.protocol import (
    AlphaSigma,
    Denoise,
    Guided,
    Teacher,
    Weighting,
    noise_like,
    pull,
    weight_of,
)
from dreamfusion3d.guidance.score import ScoreNetwork


def vsd(
    x: Float[Tensor, "b c u v"],
    t: Float[Tensor, " b"],
    alpha_sigma: AlphaSigma,
    denoise: Denoise,
    own: Denoise,
    *,
    noise: Float[Tensor, "b c u v"],
    weighting: Weighting = "reconstruction",
) -> Guided:
    """Loss for pictures ``x`` at times ``t``, from the guided prediction of x_0 and the prediction
    ``own`` of the pictures' own distribution. Means and weights as in ``sds``."""
    alpha, sigma = (c.view(-1, 1, 1, 1) for c in alpha_sigma)
    with torch.no_grad():
        x_t = alpha * x + sigma * noise
        x0 = denoise(x_t, t)
        residual = own(x_t, t) - x0
    return Guided(pull(x, residual, weight_of(alpha, sigma, weighting)), x0)


class Vsd:
    """VSD with the network that learns the pictures' distribution, one update a call."""

    def __init__(self, settings: GuidanceConfig, device: torch.device) -> None:
        self.settings, self.device = settings, device
        self.network: ScoreNetwork | None = None  # its shape is known with the first pictures
        self.adam: torch.optim.Adam | None = None

    def __call__(
        self, x: Float[Tensor, "b c u v"], t: Float[Tensor, " b"], teacher: Teacher,
        *, generator: torch.Generator,
    ) -> Guided:
        if self.network is None:
            self._begin(x.shape[1], teacher.condition.shape[1], generator)
        noise = noise_like(x, generator)
        alpha_sigma = teacher.alpha_sigma(t)
        alpha, sigma = (c.view(-1, 1, 1, 1) for c in alpha_sigma)
        with torch.no_grad():
            x_t = alpha * x + sigma * noise
            base = teacher.conditional(x_t, t)
        correction = self._correct(x_t, base, t, teacher.condition)
        guided = vsd(
            x, t, alpha_sigma,
            (lambda x_t, t: base) if self.settings.scale == 1.0 else teacher.denoise,
            lambda x_t, t: base + sigma * correction.detach(),
            noise=noise, weighting=self.settings.weighting,
        )
        # in units of sigma, so that no time outweighs another; its minimum is that of equation 8
        self._learn((correction - (x.detach() - base) / sigma).square().mean())
        return guided

    def _correct(self, x_t: Tensor, base: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        assert self.network is not None
        with torch.enable_grad():
            return self.network(x_t, base, t, condition)

    def _learn(self, loss: Float[Tensor, ""]) -> None:
        assert self.adam is not None
        if bool(torch.isfinite(loss)):  # a prior that stumbles must not spoil what is learnt
            self.adam.zero_grad(set_to_none=True)
            loss.backward()
            self.adam.step()

    def _begin(self, channels: int, condition: int, generator: torch.Generator) -> None:
        width = self.settings.score_width
        self.network = ScoreNetwork(channels, condition, width, generator=generator)
        self.adam = torch.optim.Adam(self.network.parameters(), lr=self.settings.score_rate)

    def tensors(self) -> dict[str, Tensor]:
        """The network's weights and its optimiser's state; nothing before the first call."""
        if self.network is None or self.adam is None:
            return {}
        state = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        return state | {f"adam.{k}": v for k, v in adam_tensors(self.adam).items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Become ``state``; raises KeyError, ValueError or RuntimeError when it does not fit."""
        if not state:
            self.network = self.adam = None
            return
        weights = {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
        if self.network is None:
            channels, condition = ScoreNetwork.shape_of(weights)
            self._begin(channels, condition, torch.Generator(self.device))
        assert self.network is not None and self.adam is not None
        self.network.load_state_dict(weights)
        restore_adam(self.adam, {k.removeprefix("adam."): v for k, v in state.items() if k[:5] == "adam."})
