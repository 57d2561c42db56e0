"""Fields to pictures by volume rendering.

Letters: r rays (b cameras of h x w pixels), n packed samples, m the samples that are lit.

Marching, density and albedo are cheap; a normal costs four more densities. So only samples
whose weight exceeds ``weight_cutoff`` get one, at most ``lit_per_ray`` of them a ray on
average (the heaviest). The rest keep their albedo under MEAN_SHADE, the shade of a pixel of
unknown normal, so that every weight counts in the colour and rgb stays consistent with
opacity whatever the cutoff.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dreamfusion3d.cameras import Cameras
from dreamfusion3d.render.composite import accumulate, weights
from dreamfusion3d.render.march import Samples, march
from dreamfusion3d.render.occupancy import Occupancy
from dreamfusion3d.shading import MEAN_SHADE, light_direction, shade
from dreamfusion3d.types import Field, Render

# Corners of a tetrahedron: the sum of e f(x + epsilon e) over them is 4 epsilon grad f + O(epsilon^2)
TETRAHEDRON = ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0))
HIT = 1e-4  # opacity below which a ray has no depth


@runtime_checkable
class JointField(Protocol):
    """What a field may offer besides ``Field`` to be rendered faster and with steadier normals."""

    def density_and_albedo(
        self, x: Float[Tensor, "n 3"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3"]]: ...

    def density_logit(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]: ...


@dataclass(frozen=True)
class RenderSettings:
    """How a picture is made; lengths in scene units."""

    step_size: float = 2 * math.sqrt(3) / 128
    shading: Literal["lambert", "albedo", "textureless"] = "lambert"
    normal_epsilon: float = 1 / 48
    weight_cutoff: float = 0.01
    lit_per_ray: float = 4.0


@dataclass(frozen=True)
class Detail:
    """The packed samples behind a picture, for the regularisers.

    ``lit`` are the indices of the samples that have a normal; their ``normals`` are unit
    vectors. Rays are numbered through b, h, w.
    """

    samples: Samples
    weights: Float[Tensor, " n"]
    directions: Float[Tensor, "r 3"]
    lit: Tensor
    normals: Float[Tensor, "m 3"]

    def orientation_loss(self) -> Float[Tensor, ""]:
        """sum_i w_i max(0, n_i . d)^2, a mean over rays (Ref-NeRF, arXiv 2112.03907, eq. 11):
        visible surfaces face the camera. The weights are constants, as in DreamFusion."""
        if not self.directions.shape[0]:
            return self.weights.sum()
        facing = (self.normals * self.directions[self.samples.ray_indices[self.lit]]).sum(-1)
        cost = self.weights[self.lit].detach() * facing.clamp(min=0).square()
        return cost.sum() / self.directions.shape[0]


def render(
    field: Field,
    cameras: Cameras,
    *,
    occupancy: Occupancy | Bool[Tensor, "x y z"],
    generator: torch.Generator,
    settings: RenderSettings = RenderSettings(),
) -> Render:
    """Pictures of a field, differentiable in its parameters."""
    picture, _ = render_detailed(field, cameras, occupancy=occupancy, generator=generator, settings=settings)
    return picture


def render_detailed(
    field: Field,
    cameras: Cameras,
    *,
    occupancy: Occupancy | Bool[Tensor, "x y z"],
    generator: torch.Generator,
    settings: RenderSettings = RenderSettings(),
) -> tuple[Render, Detail]:
    """As ``render``, with the samples the pictures were made of."""
    shape = (len(cameras), cameras.height, cameras.width)
    origins, directions = (t.reshape(-1, 3) for t in cameras.rays())
    rays = origins.shape[0]
    binary = occupancy.binary if isinstance(occupancy, Occupancy) else occupancy
    samples = march(origins, directions, binary, step_size=settings.step_size, generator=generator)
    points = samples.positions(origins, directions)
    density, albedo = _density_and_albedo(field, points)
    weight = weights(density, samples)
    lit = _choose_lit(weight.detach(), rays, settings)
    normals = density_normals(field, points.index_select(0, lit), settings.normal_epsilon)

    colour = _colour(albedo, normals, lit, samples, cameras, settings)
    values = torch.cat([colour, torch.ones_like(weight)[:, None], samples.midpoints()[:, None]], -1)
    summed = accumulate(weight, values, samples.ray_indices, rays)
    opacity, distance = summed[:, 3], summed[:, 4]
    depth = torch.where(opacity > HIT, distance / opacity.clamp(min=HIT), 0.0)
    normal_picture = accumulate(weight[lit], normals, samples.ray_indices[lit], rays).reshape(*shape, 3)
    picture = Render(
        summed[:, :3].reshape(*shape, 3),
        opacity.reshape(shape),
        depth.reshape(shape),
        None if settings.shading == "albedo" else normal_picture,
    )
    return picture, Detail(samples, weight, directions, lit, normals)


def density_normals(field: Field, x: Float[Tensor, "m 3"], epsilon: float) -> Float[Tensor, "m 3"]:
    """Unit vectors along -grad(density) by differences of a monotonic function of the density.

    Zero where the field is flat. Differentiable: four queries on a tetrahedron.
    """
    corners = x.new_tensor(TETRAHEDRON)
    stencil = (x[:, None, :] + epsilon * corners).reshape(-1, 3)
    if isinstance(field, JointField):
        value = field.density_logit(stencil)
    else:
        # the floor stands for empty space, whose logarithm would outshout every surface
        value = torch.log(field.density(stencil) + 1e-3)
    descent = -(value.reshape(-1, 4) @ corners)
    # squared before the root, so that a flat field has a finite gradient
    return descent * torch.rsqrt(descent.square().sum(-1, keepdim=True) + 1e-12)


def _density_and_albedo(field: Field, points: Tensor) -> tuple[Tensor, Tensor]:
    if isinstance(field, JointField):
        return field.density_and_albedo(points)
    return field.density(points), field.albedo(points)


def _choose_lit(weight: Tensor, rays: int, settings: RenderSettings) -> Tensor:
    """Indices (m,) of the samples that get a normal, in packed order."""
    if settings.shading == "albedo":
        return torch.empty(0, dtype=torch.int64, device=weight.device)
    lit = torch.nonzero(weight > settings.weight_cutoff)[:, 0]
    limit = int(settings.lit_per_ray * rays)
    if lit.numel() > limit:
        lit = lit[torch.topk(weight[lit], limit, sorted=False).indices].sort().values
    return lit


def _colour(
    albedo: Tensor, normals: Tensor, lit: Tensor, samples: Samples, cameras: Cameras, settings: RenderSettings
) -> Tensor:
    """(n, 3) radiance of every sample."""
    if settings.shading == "albedo":
        return albedo
    pixels = cameras.height * cameras.width
    light = light_direction(cameras.camera_to_world)[samples.ray_indices[lit] // pixels]
    factor = torch.full_like(albedo[:, 0], MEAN_SHADE).index_copy(0, lit, shade(normals, light))
    if settings.shading == "textureless":
        return factor[:, None].expand_as(albedo)
    return albedo * factor[:, None]
