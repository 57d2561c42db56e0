"""Classifier score distillation (CSD, arXiv 2310.19415): the classifier part of SDS alone.

The noise residual of SDS at scale s has two parts,

    eps_hat - eps  =  [eps(x_t; y) - eps]  +  (s - 1) [eps(x_t; y) - eps(x_t)]

of which the second, the gradient of an implicit classifier p(y | x_t), dominates at large scales. CSD keeps only this
part, grad_x = w(t) (eps(x_t; y) - eps(x_t)); in image units the bracket is (alpha / sigma) (x0_uncond - x0_cond). It
makes an image match the prompt, not likely under the prior.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.guidance.protocol import AlphaSigma, Denoise, GuidanceOutput, Weighting, per_image, surrogate_loss


def csd(
    x: Float[Tensor, "b c u v"],
    t: Float[Tensor, " b"],
    alpha_sigma: AlphaSigma,
    conditional: Denoise,
    unconditional: Denoise,
    *,
    noise: Float[Tensor, "b c u v"],
    scale: float = 1.0,
    weighting: Weighting = "x0",
) -> GuidanceOutput:
    """Compute the CSD loss of images ``x`` at times ``t``, a mean over images and pixels.

    Args:
        x: Images in the prior's space, of shape (b, c, u, v).
        t: Times in [0, 1], of shape (b,).
        alpha_sigma: Signal and noise levels at ``t``, each of shape (b,).
        conditional: Prediction of x_0 with the prompt.
        unconditional: Prediction of x_0 without it.
        noise: Standard normal noise in the shape of ``x``.
        scale: Factor of the gradient. SDS at this scale is CSD plus SDS of the unconditional prediction.
        weighting: See `residual_weight`.

    Returns:
        The loss, a scalar whose gradient is the guidance, and the predicted x_0 of shape (b, c, u, v).

    Example:
        >>> output = csd(x, t, (alpha, sigma), lambda x_t, t: 0.5 * x_t, lambda x_t, t: 0 * x_t, noise=noise)
        >>> output.x0.shape == x.shape
        True
    """
    alpha, sigma = per_image(alpha_sigma)
    with torch.no_grad():
        x_t = alpha * x + sigma * noise
        x0 = conditional(x_t, t)
        residual = scale * (unconditional(x_t, t) - x0)
    return GuidanceOutput(surrogate_loss(x, residual, alpha, sigma, weighting), x0)
