"""Score distillation sampling (DreamFusion, arXiv 2209.14988, equation 3), in the x_0 form.

With x_t = alpha x + sigma eps and the prior's prediction x0_hat, the noise residual is
eps_hat - eps = (alpha / sigma) (x - x0_hat), so SDS is the gradient of a squared distance to a reconstruction held
constant (MVDream, arXiv 2308.16512, equation 5):

    grad_x = w(t) (eps_hat - eps)  =  grad_x  w(t) (alpha / sigma) / 2 |x - sg(x0_hat)|^2
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.guidance.protocol import AlphaSigma, Denoise, GuidanceOutput, Weighting, per_image, residual_weight


def sds(
    x: Float[Tensor, "b c u v"],
    t: Float[Tensor, " b"],
    alpha_sigma: AlphaSigma,
    denoise: Denoise,
    *,
    noise: Float[Tensor, "b c u v"],
    weighting: Weighting = "x0",
) -> GuidanceOutput:
    """Compute the SDS loss of images ``x`` at times ``t``.

    The loss is a mean over images and pixels, so neither the number of views nor the resolution changes the step size.

    Args:
        x: Images in the prior's space.
        t: Times in [0, 1], one per image.
        alpha_sigma: Signal and noise levels at ``t``.
        denoise: Guided prediction of x_0 from ``(x_t, t)``.
        noise: Standard normal noise.
        weighting: See `residual_weight`.
    """
    alpha, sigma = per_image(alpha_sigma)
    with torch.no_grad():
        x0 = denoise(alpha * x + sigma * noise, t)
    weight = residual_weight(alpha, sigma, weighting)
    return GuidanceOutput(0.5 * (weight * (x - x0).square()).mean(), x0)
