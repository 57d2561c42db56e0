"""Moved."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core.config import Config
from dreamfusion3d.core.types import Render
from dreamfusion3d.rendering.volume import SampleAux
from dreamfusion3d.training.schedules import linear_ramp


def regularization_loss(rendered: Render, aux: SampleAux, config: Config, progress: float) -> Float[Tensor, ""]:
    """DreamFusion's (arXiv 2209.14988, appendix A.2): opacity, entropy (late), orientation."""
    opacity = rendered.opacity.clamp(1e-4, 1 - 1e-4)
    entropy = -(opacity * opacity.log() + (1 - opacity) * (1 - opacity).log()).mean()
    sparsity = (opacity.square() + 0.01).sqrt().mean()
    return (
        config.losses.sparsity * sparsity
        + linear_ramp(progress, 0.0, config.losses.opaque, start_at=0.3, end_at=0.8) * entropy
        + config.losses.orientation * aux.orientation_loss()
        + config.losses.albedo_tv * total_variation(aux.albedo, rendered.opacity)
        + config.losses.normal_tv * total_variation(_require_normals(rendered), rendered.opacity)
    )


def total_variation(images: Float[Tensor, "b h w c"], opacity: Float[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Total variation (Rudin, Osher and Fatemi 1992) where both neighbours are opaque, a mean over pixels.

    Of the albedo: paint must not stand in for shape (a dark disc for the mouth of a jug). Of
    the normals: surfaces are smooth, edges may be sharp.
    """
    opaque = (opacity.detach() > 0.9).to(images.dtype)
    dx = (images[:, :, 1:] - images[:, :, :-1]).square().sum(-1) * opaque[:, :, 1:] * opaque[:, :, :-1]
    dy = (images[:, 1:] - images[:, :-1]).square().sum(-1) * opaque[:, 1:] * opaque[:, :-1]
    # the small number keeps the root's gradient finite where neighbours are equal
    return ((dx + 1e-6).sqrt() - 1e-3).mean() + ((dy + 1e-6).sqrt() - 1e-3).mean()


def _require_normals(rendered: Render) -> Float[Tensor, "b h w 3"]:
    assert rendered.normals is not None, "lambert shading always has normals"
    return rendered.normals
