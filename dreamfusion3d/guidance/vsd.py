"""Variational score distillation (VSD, ProlificDreamer, arXiv 2305.16213, equations 8 and 9).

The images are samples of a distribution q whose noise prediction eps_q is learned while the images move; it replaces
the noise of SDS:

    grad_x = w(t) (eps_hat(x_t; y) - eps_q(x_t; c))  =  w(t) (alpha / sigma) (x0_q - x0_hat)
    eps_q  = argmin  E |eps_q(x_t; c) - eps|^2

At the fixed point the two scores are equal and the images are distributed like the prior's, whereas SDS seeks modes.
The paper learns eps_q as a LoRA of the prior's network. Here it is the prior's conditional prediction plus a small
network (`VsdNetwork`), which begins at zero like a LoRA. It uses only the prior's predictions, so it works with any
prior. At scale 1 it costs one small network per step and no further evaluation of the prior.
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
    GuidanceOutput,
    ScoreModel,
    Weighting,
    noise_like,
    per_image,
    surrogate_loss,
)
from dreamfusion3d.guidance.vsd_network import VsdNetwork


def vsd(
    x: Float[Tensor, "b c u v"],
    t: Float[Tensor, " b"],
    alpha_sigma: AlphaSigma,
    denoise: Denoise,
    denoise_q: Denoise,
    *,
    noise: Float[Tensor, "b c u v"],
    weighting: Weighting = "x0",
) -> GuidanceOutput:
    """Compute the VSD loss of images ``x`` at times ``t``, a mean over images and pixels.

    Args:
        x: Images in the prior's space, of shape (b, c, u, v).
        t: Times in [0, 1], of shape (b,).
        alpha_sigma: Signal and noise levels at ``t``, each of shape (b,).
        denoise: Guided prediction of x_0.
        denoise_q: Prediction of x_0 under the images' own distribution q.
        noise: Standard normal noise in the shape of ``x``.
        weighting: See `residual_weight`.

    Returns:
        The loss, a scalar whose gradient is the guidance, and the predicted x_0 of shape (b, c, u, v).

    Example:
        >>> output = vsd(x, t, (alpha, sigma), lambda x_t, t: 0.5 * x_t, lambda x_t, t: x_t, noise=noise)
        >>> output.loss.shape
        torch.Size([])
    """
    alpha, sigma = per_image(alpha_sigma)
    with torch.no_grad():
        x_t = alpha * x + sigma * noise
        x0 = denoise(x_t, t)
        residual = denoise_q(x_t, t) - x0
    return GuidanceOutput(surrogate_loss(x, residual, alpha, sigma, weighting), x0)


class VsdGuidance:
    """VSD with the network that learns the images' distribution, updated once per call."""

    def __init__(self, settings: GuidanceConfig, device: torch.device) -> None:
        self.settings, self.device = settings, device
        self.network: VsdNetwork | None = None  # created on the first call, which determines its shape
        self.adam: torch.optim.Adam | None = None

    def __call__(
        self,
        x: Float[Tensor, "b c u v"],
        t: Float[Tensor, " b"],
        score_model: ScoreModel,
        *,
        generator: torch.Generator,
    ) -> GuidanceOutput:
        if self.network is None:
            self._init_network(x.shape[1], score_model.condition.shape[1], generator)
        assert self.network is not None
        noise = noise_like(x, generator)
        alpha_sigma = score_model.alpha_sigma(t)
        alpha, sigma = per_image(alpha_sigma)
        with torch.no_grad():
            x_t = alpha * x + sigma * noise
            x0_cond = score_model.conditional(x_t, t)
        with torch.enable_grad():
            correction = self.network(x_t, x0_cond, t, score_model.condition)
        output = vsd(
            x,
            t,
            alpha_sigma,
            (lambda x_t, t: x0_cond) if self.settings.scale == 1.0 else score_model.denoise,
            lambda x_t, t: x0_cond + sigma * correction.detach(),
            noise=noise,
            weighting=self.settings.weighting,
        )
        # divided by sigma so that all times weigh alike; has the minimum of equation 8
        self._update_network((correction - (x.detach() - x0_cond) / sigma).square().mean())
        return output

    def _update_network(self, loss: Float[Tensor, ""]) -> None:
        assert self.adam is not None
        if bool(torch.isfinite(loss)):  # a non-finite prediction of the prior must not ruin the network
            self.adam.zero_grad(set_to_none=True)
            loss.backward()
            self.adam.step()

    def _init_network(self, channels: int, condition: int, generator: torch.Generator) -> None:
        self.network = VsdNetwork(channels, condition, self.settings.vsd_width, generator=generator)
        self.adam = torch.optim.Adam(self.network.parameters(), lr=self.settings.vsd_lr)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the network's weights and its optimizer's state; empty before the first call."""
        if self.network is None or self.adam is None:
            return {}
        state = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        return state | {f"adam.{k}": v for k, v in adam_tensors(self.adam).items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore a state. Raises KeyError, ValueError or RuntimeError if it does not fit."""
        if not state:
            self.network = self.adam = None
            return
        weights = {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
        if self.network is None:
            channels, condition = VsdNetwork.infer_shape(weights)
            self._init_network(channels, condition, torch.Generator(self.device))
        assert self.network is not None and self.adam is not None
        self.network.load_state_dict(weights)
        restore_adam(self.adam, {k.removeprefix("adam."): v for k, v in state.items() if k[:5] == "adam."})
