"""Classifier score distillation (CSD, arXiv 2310.19415): guidance without the generator.

The noise residual of SDS at scale s falls into two parts,

    eps_hat - eps  =  [eps(x_t; y) - eps]  +  (s - 1) [eps(x_t; y) - eps(x_t)]

of which large scales leave only the second: the gradient of an implicit classifier p(y | x_t).
CSD is this part alone, grad_x = w(t) (eps(x_t; y) - eps(x_t)); in units of the picture the
bracket is (alpha / sigma) (x0_uncond - x0_cond). It asks that a picture be like the prompt, not
that it be a likely picture.
"""

from __future__ import annotations

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
    """Loss for pictures ``x`` at times ``t``, from the predictions of x_0 with and without the prompt.

    ``scale`` multiplies it, as in SDS, which is this plus the residual of the unconditional
    prediction. Means and weights as in ``sds``.
    """
    alpha, sigma = (c.view(-1, 1, 1, 1) for c in alpha_sigma)
    with torch.no_grad():
        x_t = alpha * x + sigma * noise
        x0 = conditional(x_t, t)
        residual = scale * (unconditional(x_t, t) - x0)
    return GuidanceOutput(surrogate_loss(x, residual, residual_weight(alpha, sigma, weighting)), x0)
