"""Losses beside the guidance, by name. Add a regularizer here, and its weight to ``LossConfig``."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.config import LossConfig
from dreamfusion3d.core.types import Render
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.visibility import hidden_density
from dreamfusion3d.rendering.volume import SampleAux
from dreamfusion3d.training.schedules import linear_ramp


def regularizers(
    field: NerfField,
    occupancy: OccupancyGrid,
    cameras: OrbitCameras,
    image: Render,
    aux: SampleAux,
    weights: LossConfig,
    progress: float,
    *,
    generator: torch.Generator,
) -> dict[str, Float[Tensor, ""]]:
    """Return the weighted regularizers of a step.

    Sparsity, opacity entropy (late in the run) and orientation are DreamFusion's (arXiv 2209.14988, appendix A.2).

    Args:
        image: renders with normals, as Lambert shading makes them.
        progress: fraction of the steps that are done.
        generator: draws the points of ``interior`` and ``init``.
    """
    assert image.normals is not None, "Lambert shading always has normals"
    opacity = image.opacity.clamp(1e-4, 1 - 1e-4)
    entropy = -(opacity * opacity.log() + (1 - opacity) * (1 - opacity).log()).mean()
    losses = {
        "sparsity": weights.sparsity * (opacity.square() + 0.01).sqrt().mean(),
        "opaque": linear_ramp(progress, 0.0, weights.opaque, start_at=0.3, end_at=0.8) * entropy,
        "orientation": weights.orientation * aux.orientation_loss(),
        "albedo_tv": weights.albedo_tv * total_variation(aux.albedo, image.opacity),
        "normal_tv": weights.normal_tv * total_variation(image.normals, image.opacity),
    }
    init = field.init
    if weights.interior > 0 and init is None:  # an initial volume settles the interior
        density = hidden_density(field, occupancy, cameras, aux, weights.interior_points, generator=generator)
        losses["interior"] = weights.interior * torch.log1p(density).mean()
    if weights.init > 0 and init is not None and len(init.certain_points) > 0:
        hinge = init.init_hinge_loss(field.density_logit, weights.init_points, generator=generator)
        losses["init"] = weights.init * hinge
    return losses


def total_variation(images: Float[Tensor, "b h w c"], opacity: Float[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Return the total variation (Rudin, Osher and Fatemi 1992) between opaque neighbors, a mean over pixels.

    On albedo it keeps texture from standing in for shape; on normals it smooths surfaces but spares sharp edges.
    """
    opaque = (opacity.detach() > 0.9).to(images.dtype)
    dx = (images[:, :, 1:] - images[:, :, :-1]).square().sum(-1) * opaque[:, :, 1:] * opaque[:, :, :-1]
    dy = (images[:, 1:] - images[:, :-1]).square().sum(-1) * opaque[:, 1:] * opaque[:, :-1]
    # the small number keeps the root's gradient finite where neighbors are equal
    return ((dx + 1e-6).sqrt() - 1e-3).mean() + ((dy + 1e-6).sqrt() - 1e-3).mean()
