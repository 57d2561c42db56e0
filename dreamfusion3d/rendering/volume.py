"""Fields to pictures by volume rendering.

Letters: r rays (b cameras of h x w pixels), n packed samples, m the samples that are lit.

Marching, density and albedo are cheap; a normal costs four more densities. So only samples
whose weight exceeds ``weight_cutoff`` get one, at most ``lit_per_ray`` of them a ray on
average (the heaviest). The rest of a ray keep their albedo under the mean shade of its lit
samples, or under MEAN_SHADE if it has none; so every weight counts in the colour, and rgb
stays consistent with opacity whatever the cutoff.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.backends import constant_like
from dreamfusion3d.core.shading import MEAN_SHADING, lambert_shading, light_direction
from dreamfusion3d.core.types import Field, Render
from dreamfusion3d.rendering.compositing import accumulate, compositing_weights
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.ray_march import Samples, march, march_async
from dreamfusion3d.rendering.shading_budget import ShadedFraction, select_samples_to_shade

# Corners of a tetrahedron: the sum of e f(x + epsilon e) over them is 4 epsilon grad f + O(epsilon^2)
TETRAHEDRON_CORNERS = ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0))
MIN_HIT_OPACITY = 1e-4  # opacity below which a ray has no depth


@runtime_checkable
class JointField(Field, Protocol):
    """What a field may offer besides to be rendered faster and with steadier normals."""

    def density_and_albedo(self, x: Float[Tensor, "n 3"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3"]]: ...

    def density_logit(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]: ...


@dataclass(frozen=True)
class RenderSettings:
    """How a picture is made; lengths in scene units."""

    step_size: float = 2 * math.sqrt(3) / 128
    shading: Literal["lambert", "albedo", "textureless"] = "lambert"
    normal_epsilon: float = 1 / 48
    weight_cutoff: float = 0.01
    max_shaded_per_ray: float = 4.0


@dataclass(frozen=True)
class SampleAux:
    """The packed samples behind a picture, for the regularisers.

    ``lit`` are the indices of the samples that have a normal; their ``normals`` are unit
    vectors. Rays are numbered through b, h, w.
    """

    samples: Samples
    weights: Float[Tensor, " n"]
    directions: Float[Tensor, "r 3"]
    shaded: Tensor
    shaded_normals: Float[Tensor, "m 3"]
    albedo: Float[Tensor, "b h w 3"]  # without light, premultiplied

    def orientation_loss(self) -> Float[Tensor, ""]:
        """sum_i w_i max(0, n_i . d)^2, a mean over rays (Ref-NeRF, arXiv 2112.03907, eq. 11):
        visible surfaces face the camera. The weights are constants, as in DreamFusion."""
        if not self.directions.shape[0]:
            return self.weights.sum()
        facing = (self.shaded_normals * self.directions[self.samples.ray_indices[self.shaded]]).sum(-1)
        loss = self.weights[self.shaded].detach() * facing.clamp(min=0).square()
        return loss.sum() / self.directions.shape[0]


def render_field(
    field: Field,
    cameras: OrbitCameras,
    *,
    occupancy: OccupancyGrid | Bool[Tensor, "x y z"],
    generator: torch.Generator,
    settings: RenderSettings = RenderSettings(),
) -> Render:
    """Pictures of a field, differentiable in its parameters."""
    result, _ = render_field_with_aux(field, cameras, occupancy=occupancy, generator=generator, settings=settings)
    return result


def render_field_with_aux(
    field: Field,
    cameras: OrbitCameras,
    *,
    occupancy: OccupancyGrid | Bool[Tensor, "x y z"],
    generator: torch.Generator,
    settings: RenderSettings = RenderSettings(),
    pending: PendingSamples | None = None,
    shaded_fraction: ShadedFraction | None = None,
) -> tuple[Render, SampleAux]:
    """As ``render``, with the samples the pictures were made of.

    ``marched`` are the cameras' rays where they have been sent already, and ``share`` says how many samples
    to light; with both nothing here waits for what a GPU was asked since the rays were sent.
    """
    rays, samples = sample_camera_rays(cameras, occupancy, settings, generator, pending)
    weight, albedo = weights_and_albedo(field, rays, samples)
    shaded = shaded_sample_indices(weight.detach(), rays, settings, shaded_fraction)
    outputs = shade_and_composite(field, rays, samples, weight, albedo, shaded, settings)
    return assemble_render(outputs, cameras, settings), assemble_aux(outputs, cameras, rays, samples)


@dataclass(frozen=True)
class Rays:
    """Those of ``b`` cameras, numbered through b, h, w; or a part of them that begins with ray ``first``."""

    origins: Float[Tensor, "r 3"]
    directions: Float[Tensor, "r 3"]
    light_directions: Float[Tensor, "b 3"]
    pixels_per_camera: int  # of a camera
    first_ray: int = 0

    @staticmethod
    def from_cameras(cameras: OrbitCameras) -> Rays:
        origins, directions = (t.reshape(-1, 3) for t in cameras.rays())
        light = light_direction(cameras.camera_to_world)
        return Rays(origins, directions, light, cameras.height * cameras.width)

    def slice(self, first: int, last: int) -> Rays:
        return Rays(
            self.origins[first:last],
            self.directions[first:last],
            self.light_directions,
            self.pixels_per_camera,
            self.first_ray + first,
        )

    def __len__(self) -> int:
        return self.origins.shape[0]


@dataclass(frozen=True)
class RayOutputs:
    """What rays see: of each ray, premultiplied, and of its samples."""

    rgb: Float[Tensor, "r 3"]
    opacity: Float[Tensor, " r"]
    depth: Float[Tensor, " r"]
    normals: Float[Tensor, "r 3"]
    albedo: Float[Tensor, "r 3"]  # without light
    weights: Float[Tensor, " n"]
    shaded: Tensor
    shaded_normals: Float[Tensor, "m 3"]


@dataclass(frozen=True)
class PendingSamples:
    """Rays whose samples are being counted; ``samples()`` waits for their number, and lists them."""

    rays: Rays
    collect: Callable[[], Samples]


def sample_camera_rays_async(
    cameras: OrbitCameras, occupancy: OccupancyGrid, settings: RenderSettings, generator: torch.Generator
) -> PendingSamples:
    """``occupancy`` is looked at now, and may change before the samples are listed."""
    rays = Rays.from_cameras(cameras)
    return PendingSamples(
        rays,
        march_async(rays.origins, rays.directions, occupancy.binary, step_size=settings.step_size, generator=generator),
    )


def sample_camera_rays(
    cameras: OrbitCameras,
    occupancy: OccupancyGrid | Bool[Tensor, "x y z"],
    settings: RenderSettings,
    generator: torch.Generator,
    pending: PendingSamples | None,
) -> tuple[Rays, Samples]:
    if pending is not None:
        return pending.rays, pending.collect()
    rays = Rays.from_cameras(cameras)
    return rays, sample_rays(rays, occupancy, settings, generator)


def sample_rays(
    rays: Rays, occupancy: OccupancyGrid | Bool[Tensor, "x y z"], settings: RenderSettings, generator: torch.Generator
) -> Samples:
    binary = occupancy.binary if isinstance(occupancy, OccupancyGrid) else occupancy
    return march(rays.origins, rays.directions, binary, step_size=settings.step_size, generator=generator)


def weights_and_albedo(field: Field, rays: Rays, samples: Samples) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3"]]:
    """Weight and albedo of every sample."""
    density, albedo = _density_and_albedo(field, samples.positions(rays.origins, rays.directions))
    return compositing_weights(density, samples), albedo


def shaded_sample_indices(
    weight: Float[Tensor, " n"], rays: Rays, settings: RenderSettings, shaded_fraction: ShadedFraction | None
) -> Int64[Tensor, " m"]:
    if settings.shading == "albedo":
        return torch.empty(0, dtype=torch.int64, device=weight.device)
    return select_samples_to_shade(
        weight, settings.weight_cutoff, int(settings.max_shaded_per_ray * len(rays)), shaded_fraction
    )


def shade_and_composite(
    field: Field,
    rays: Rays,
    samples: Samples,
    weight: Float[Tensor, " n"],
    albedo: Float[Tensor, "n 3"],
    shaded: Tensor,
    settings: RenderSettings,
) -> RayOutputs:
    """Normals of the samples ``lit``, light, and sums along the rays."""
    points = samples.positions(rays.origins, rays.directions, shaded)
    normals = density_normals(field, points, settings.normal_epsilon)
    shading, ray_normals = _sample_shading(weight.detach(), normals, shaded, samples, rays)
    color = {"lambert": albedo * shading[:, None], "albedo": albedo, "textureless": shading[:, None].expand_as(albedo)}[
        settings.shading
    ]
    values = torch.cat([color, torch.ones_like(weight)[:, None], samples.midpoints()[:, None], albedo], -1)
    accumulated = accumulate(weight, values, samples.ray_indices, len(rays))
    opacity, distance = accumulated[:, 3], accumulated[:, 4]
    depth = torch.where(opacity > MIN_HIT_OPACITY, distance / opacity.clamp(min=MIN_HIT_OPACITY), 0.0)
    return RayOutputs(
        accumulated[:, :3], opacity, depth, ray_normals * opacity[:, None], accumulated[:, 5:], weight, shaded, normals
    )


def assemble_render(outputs: RayOutputs, cameras: OrbitCameras, settings: RenderSettings) -> Render:
    shape = (len(cameras), cameras.height, cameras.width)
    normals = None if settings.shading == "albedo" else outputs.normals.reshape(*shape, 3)
    return Render(outputs.rgb.reshape(*shape, 3), outputs.opacity.reshape(shape), outputs.depth.reshape(shape), normals)


def assemble_aux(outputs: RayOutputs, cameras: OrbitCameras, rays: Rays, samples: Samples) -> SampleAux:
    albedo = outputs.albedo.reshape(len(cameras), cameras.height, cameras.width, 3)
    return SampleAux(samples, outputs.weights, rays.directions, outputs.shaded, outputs.shaded_normals, albedo)


def density_normals(field: Field, x: Float[Tensor, "m 3"], epsilon: float) -> Float[Tensor, "m 3"]:
    """Unit vectors along -grad(density) by differences of a monotonic function of the density.

    Zero where the field is flat. Differentiable: four queries on a tetrahedron.
    """
    corners = constant_like(TETRAHEDRON_CORNERS, x)
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


def _sample_shading(
    weight: Tensor, normals: Tensor, shaded: Tensor, samples: Samples, rays: Rays
) -> tuple[Tensor, Tensor]:
    """Shade (n,) of every sample and mean normal (r, 3), at most of unit length, of every ray.

    The weights are constants here: a surface must not move to even out its own shade.
    """
    ray = samples.ray_indices.index_select(0, shaded)
    light = rays.light_directions.index_select(0, (ray + rays.first_ray) // rays.pixels_per_camera)
    shaded_shading = lambert_shading(normals, light)
    shaded_weight = weight.index_select(0, shaded)
    values = torch.cat([shaded_shading[:, None], normals, torch.ones_like(shaded_shading)[:, None]], -1)
    sums = accumulate(shaded_weight, values, ray, len(rays))
    total = sums[:, 4:]
    mean = sums[:, :4] / total.clamp(min=MIN_HIT_OPACITY)
    shading = torch.where(total[:, 0] > MIN_HIT_OPACITY, mean[:, 0], MEAN_SHADING).index_select(0, samples.ray_indices)
    return shading.index_copy(0, shaded, shaded_shading), mean[:, 1:]
