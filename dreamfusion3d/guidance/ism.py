"""Interval score matching (ISM, LucidDreamer, arXiv 2311.11284): SDS without its noise.

SDS draws new noise at every step, so an image is pulled to a different reconstruction each time, and their mean is
oversmoothed. ISM follows the prior's own trajectory instead: DDIM inversion (Song et al., arXiv 2010.02502, equation 12
with eta = 0) under the empty prompt takes x to x_s and on to x_t with t = s + interval. The gradient compares the ends
of this last interval,

    grad_x = w(t) (eps(x_t, t; y) - eps(x_s, s; empty))

and gives one pseudo-reconstruction of x that hardly depends on the noise. As in the authors' code, inversion begins at
a small time instead of 0, where noise predictions are undefined.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.guidance.protocol import AlphaSigma, Denoise, GuidanceOutput, Weighting, per_image, surrogate_loss

MIN_TIME = 0.02  # where the inversion begins; the lower end of DreamFusion's times


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
    """Compute the ISM loss of images ``x`` at times ``t``, a mean over images and pixels.

    Args:
        x: Images in the prior's space, of shape (b, c, u, v).
        t: Times in [0, 1], of shape (b,).
        alpha_sigma: Noise schedule: returns signal and noise levels at given times.
        denoise: Guided prediction of x_0.
        unconditional: Prediction of x_0 without the prompt, evaluated once per ``stride``.
        noise: Noise of the first inversion step only, in the shape of ``x``.
        interval: The paper's delta_T / 1000.
        stride: The paper's delta_S / 1000.
        weighting: See `residual_weight`.

    Returns:
        The loss, a scalar whose gradient is the guidance, and the predicted x_0 of shape (b, c, u, v).

    Example:
        >>> output = ism(x, t, prior.alpha_sigma, lambda x_t, t: x_t, lambda x_t, t: 0 * x_t, noise=noise)
        >>> output.x0.shape == x.shape
        True
    """
    s = (t - interval).clamp(min=MIN_TIME)
    steps = math.ceil(float((s - MIN_TIME).max()) / stride)
    t_s = torch.full_like(t, MIN_TIME)
    with torch.no_grad():
        alpha, sigma = per_image(alpha_sigma(t_s))
        x_s = alpha * x + sigma * noise
        for step in range(steps + 1):
            next_t = MIN_TIME + (s - MIN_TIME) * ((step + 1) / steps) if step < steps else t.clamp(min=MIN_TIME)
            x0_uncond = unconditional(x_s, t_s)
            eps_s = (x_s - alpha * x0_uncond) / sigma
            alpha, sigma = per_image(alpha_sigma(next_t))
            x_s, t_s = alpha * x0_uncond + sigma * eps_s, next_t
        x0 = denoise(x_s, t_s)  # x_s is now x_t; eps_s is the noise prediction of the last interval
        residual = sigma / alpha * ((x_s - alpha * x0) / sigma - eps_s)
    return GuidanceOutput(surrogate_loss(x, residual, alpha, sigma, weighting), x0)
