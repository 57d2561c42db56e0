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
        x: Images in the prior's space, of shape (b, c, u, v).
        t: Times in [0, 1], of shape (b,).
        alpha_sigma: Signal and noise levels at ``t``, each of shape (b,).
        denoise: Guided prediction of x_0 from ``(x_t, t)``.
        noise: Standard normal noise in the shape of ``x``.
        weighting: See `residual_weight`.

    Returns:
        The loss, a scalar whose gradient is the guidance, and the predicted x_0 of shape (b, c, u, v).

    Example:
        >>> x = torch.zeros(1, 3, 8, 8, requires_grad=True)
        >>> output = sds(x, t, (alpha, sigma), lambda x_t, t: torch.ones_like(x_t), noise=noise)
        >>> output.loss
        tensor(0.5000, grad_fn=<MulBackward0>)
    """
    alpha, sigma = per_image(alpha_sigma)
    with torch.no_grad():
        x0 = denoise(alpha * x + sigma * noise, t)
    weight = residual_weight(alpha, sigma, weighting)
    return GuidanceOutput(0.5 * (weight * (x - x0).square()).mean(), x0)
