"""Interval score matching (ISM, LucidDreamer, arXiv 2311.11284): SDS without its noise.

SDS draws new noise every step, so one picture is pulled to another reconstruction each time,
and their mean is smooth. ISM walks the prior's own path instead: DDIM inversion (Song et al.,
arXiv 2010.02502, equation 12 with eta = 0) under the empty prompt takes x to x_s and on to x_t
with t = s + interval, and the gradient compares the two ends of that last interval,

    grad_x = w(t) (eps(x_t, t; y) - eps(x_s, s; empty))

which is one pseudo-reconstruction of x itself, whatever the noise. As in the authors' program
the inversion begins at a small time and not at 0, where noise predictions are not defined.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.guidance.protocol import (
    AlphaSigma,
    Denoise,
    GuidanceOutput,
    Weighting,
    residual_weight,
    surrogate_loss,
)

MIN_TIME = 0.02  # time at which the inversion begins; DreamFusion's lower end of times


def ism(
    x: Float[Tensor, "b c u v"],
    t: Float[Tensor, " b"],
    alpha_sigma: Callable[[Float[Tensor, " b"]], AlphaSigma],
    denoise: Denoise,
    unconditional: Denoise,
    *,
    noise: Float[Tensor, "b c u v"],
    interval: float = 0.05,
    stride: float = 0.2,
    weighting: Weighting = "x0",
) -> GuidanceOutput:
    """Loss for pictures ``x`` at times ``t``, from the guided and the unconditional prediction of x_0.

    ``interval`` and ``stride`` are the paper's delta_T and delta_S over 1000. The unconditional
    prediction is asked once every ``stride``. ``noise`` only begins the inversion. Means and
    weights as in ``sds``.
    """
    s = (t - interval).clamp(min=MIN_TIME)
    steps = math.ceil(float((s - MIN_TIME).max()) / stride)
    t_s = torch.full_like(t, MIN_TIME)
    with torch.no_grad():
        alpha, sigma = _per_image(alpha_sigma(t_s))
        x_s = alpha * x + sigma * noise
        for step in range(steps + 1):
            next_t = MIN_TIME + (s - MIN_TIME) * ((step + 1) / steps) if step < steps else t.clamp(min=MIN_TIME)
            x0_uncond = unconditional(x_s, t_s)
            eps_s = (x_s - alpha * x0_uncond) / sigma
            alpha, sigma = _per_image(alpha_sigma(next_t))
            x_s, t_s = alpha * x0_uncond + sigma * eps_s, next_t
        x0 = denoise(x_s, t_s)  # the walk has arrived at t; eps_s is that of its last interval
        residual = sigma / alpha * ((x_s - alpha * x0) / sigma - eps_s)
    return GuidanceOutput(surrogate_loss(x, residual, residual_weight(alpha, sigma, weighting)), x0)


def _per_image(alpha_sigma: AlphaSigma) -> tuple[Float[Tensor, "b 1 1 1"], Float[Tensor, "b 1 1 1"]]:
    alpha, sigma = alpha_sigma
    return alpha.view(-1, 1, 1, 1), sigma.view(-1, 1, 1, 1)
