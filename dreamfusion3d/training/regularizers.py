"""Moved."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core.config import Config
from dreamfusion3d.core.types import Render
from dreamfusion3d.rendering.volume import Detail
from dreamfusion3d.training.schedules import ramp


def regularisers(picture: Render, detail: Detail, config: Config, progress: float) -> Float[Tensor, ""]:
    """DreamFusion's (arXiv 2209.14988, appendix A.2): opacity, entropy (late), orientation."""
    optim = config.optim
    opacity = picture.opacity.clamp(1e-4, 1 - 1e-4)
    entropy = -(opacity * opacity.log() + (1 - opacity) * (1 - opacity).log()).mean()
    sparse = (opacity.square() + 0.01).sqrt().mean()
    return (
        optim.opacity_weight * sparse
        + ramp(progress, 0.0, optim.entropy_weight, begin=0.3, finish=0.8) * entropy
        + optim.orientation_weight * detail.orientation_loss()
        + optim.albedo_variation_weight * variation(detail.albedo, picture.opacity)
        + optim.normal_variation_weight * variation(_normals(picture), picture.opacity)
    )


def variation(pictures: Float[Tensor, "b h w c"], opacity: Float[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Total variation (Rudin, Osher and Fatemi 1992) where both neighbours are opaque, a mean over pixels.

    Of the albedo: paint must not stand in for shape (a dark disc for the mouth of a jug). Of
    the normals: surfaces are smooth, edges may be sharp.
    """
    solid = (opacity.detach() > 0.9).to(pictures.dtype)
    across = (pictures[:, :, 1:] - pictures[:, :, :-1]).square().sum(-1) * solid[:, :, 1:] * solid[:, :, :-1]
    down = (pictures[:, 1:] - pictures[:, :-1]).square().sum(-1) * solid[:, 1:] * solid[:, :-1]
    # the small number keeps the root's gradient finite where neighbours are equal
    return ((across + 1e-6).sqrt() - 1e-3).mean() + ((down + 1e-6).sqrt() - 1e-3).mean()


def _normals(picture: Render) -> Float[Tensor, "b h w 3"]:
    assert picture.normals is not None, "lambert shading always has normals"
    return picture.normals
