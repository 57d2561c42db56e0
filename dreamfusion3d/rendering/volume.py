"""Volume rendering of fields.

Letters: r rays (b cameras of h x w pixels), n packed samples, m samples that are shaded.

A normal costs four densities, so only samples that weigh more than ``weight_cutoff`` get one: the heaviest,
at most ``max_shaded_per_ray`` per ray on average. The other samples of a ray take the mean shading of its
shaded samples, or MEAN_SHADING if there are none. Every weight counts in the color whatever the cutoff, so
``rgb`` stays consistent with ``opacity``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dreamfusion3d.cameras.protocol import RayCameras
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
OccupancyLike: TypeAlias = OccupancyGrid | Bool[Tensor, "x y z"]


@runtime_checkable
class JointField(Field, Protocol):
    """A field with a joint query, which is faster, and a density logit, whose differences give steadier normals."""

    def density_and_albedo(self, x: Float[Tensor, "n 3"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3"]]:
        """Return both from one evaluation."""
        ...

    def density_logit(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Return a monotonic function of the density whose gradient does not vanish in empty space."""
        ...


@dataclass(frozen=True)
class RenderSettings:
    """Settings of the volume renderer; lengths in scene units."""

    step_size: float = 2 * math.sqrt(3) / 128
    shading: Literal["lambert", "albedo", "textureless"] = "lambert"
    normal_epsilon: float = 1 / 48
    weight_cutoff: float = 0.01
    max_shaded_per_ray: float = 4.0


@dataclass(frozen=True)
class SampleAux:
    """The packed samples behind a render, for the regularizers. Rays are numbered in the order b, h, w."""

    samples: Samples
    weights: Float[Tensor, " n"]
    directions: Float[Tensor, "r 3"]
    shaded: Tensor  # indices of the samples that have a normal
    shaded_normals: Float[Tensor, "m 3"]  # unit
    albedo: Float[Tensor, "b h w 3"]  # unlit, premultiplied

    def orientation_loss(self) -> Float[Tensor, ""]:
        """Return the mean over rays of sum_i w_i max(0, n_i . d)^2 (Ref-NeRF, arXiv 2112.03907, equation 11).

        It makes visible surfaces face the camera. The weights are constants, as in DreamFusion.
        """
        if not self.directions.shape[0]:
            return self.weights.sum()
        facing = (self.shaded_normals * self.directions[self.samples.ray_indices[self.shaded]]).sum(-1)
        loss = self.weights[self.shaded].detach() * facing.clamp(min=0).square()
        return loss.sum() / self.directions.shape[0]


def render_field(
    field: Field,
    cameras: RayCameras,
    *,
    occupancy: OccupancyLike,
    generator: torch.Generator,
    settings: RenderSettings = RenderSettings(),
) -> Render:
    """Render a field, differentiably in its parameters.

    Args:
        field: the radiance field; a `JointField` renders faster.
        cameras: ``b`` cameras on the field's device.
        occupancy: occupied cells over [-1, 1]^3; samples are taken in these alone.
        generator: draws one jitter per ray.
        settings: step size, shading and shading budget.

    Returns:
        Images of shape (b, h, w, 3) with opacity, depth in scene units, and normals if the shading needs them.

    Example:
        >>> image = render_field(field, cameras, occupancy=occupancy, generator=generator)
        >>> image.rgb.shape
        torch.Size([2, 16, 16, 3])
    """
    return render_field_with_aux(field, cameras, occupancy=occupancy, generator=generator, settings=settings)[0]


def render_field_with_aux(
    field: Field,
    cameras: RayCameras,
    *,
    occupancy: OccupancyLike,
    generator: torch.Generator,
    settings: RenderSettings = RenderSettings(),
    pending: PendingSamples | None = None,
    shaded_fraction: ShadedFraction | None = None,
) -> tuple[Render, SampleAux]:
    """Render as `render_field` does, and return the samples as well.

    Args:
        pending: samples of these cameras that were requested earlier.
        shaded_fraction: predicts the number of samples to shade. With ``pending`` and this, the host does not
            wait for GPU work queued after that request.
    """
    rays, samples = sample_camera_rays(cameras, occupancy, settings, generator, pending)
    outputs = render_samples(field, rays, samples, settings, shaded_fraction)
    return assemble_render(outputs, cameras, settings), assemble_aux(outputs, cameras, rays, samples)


@dataclass(frozen=True)
class Rays:
    """Rays with unit directions, each with the direction towards its camera's light."""

    origins: Float[Tensor, "r 3"]
    directions: Float[Tensor, "r 3"]
    light_directions: Float[Tensor, "r 3"]

    @staticmethod
    def from_cameras(cameras: RayCameras, pixels: Int64[Tensor, " r"] | None = None) -> Rays:
        """Return the rays of ``pixels``, or of all pixels, numbered in the order b, h, w."""
        pixels_per_camera, light = cameras.height * cameras.width, light_direction(cameras.camera_to_world)
        if pixels is None:
            origins, directions = (t.reshape(-1, 3) for t in cameras.rays())
            return Rays(origins, directions, light[:, None].expand(-1, pixels_per_camera, -1).reshape(-1, 3))
        origins, directions = cameras.rays_through(pixels)
        return Rays(origins, directions, light.index_select(0, pixels // pixels_per_camera))

    def __getitem__(self, rays: slice) -> Rays:
        return Rays(self.origins[rays], self.directions[rays], self.light_directions[rays])

    def __len__(self) -> int:
        return self.origins.shape[0]


@dataclass(frozen=True)
class RayOutputs:
    """Outputs per ray, premultiplied by opacity, and per sample."""

    rgb: Float[Tensor, "r 3"]
    opacity: Float[Tensor, " r"]
    depth: Float[Tensor, " r"]
    normals: Float[Tensor, "r 3"]
    albedo: Float[Tensor, "r 3"]  # unlit
    weights: Float[Tensor, " n"]
    shaded: Tensor  # indices of the samples that have a normal
    shaded_normals: Float[Tensor, "m 3"]


@dataclass(frozen=True)
class PendingSamples:
    """Rays whose samples are being counted; ``collect()`` waits for the count and returns the samples."""

    rays: Rays
    collect: Callable[[], Samples]


def sample_camera_rays_async(
    cameras: RayCameras, occupancy: OccupancyGrid, settings: RenderSettings, generator: torch.Generator
) -> PendingSamples:
    """Start sampling all rays of ``cameras``. ``occupancy`` is read now and may change before ``collect()``."""
    rays, step_size = Rays.from_cameras(cameras), settings.step_size
    collect = march_async(rays.origins, rays.directions, occupancy.binary, step_size=step_size, generator=generator)
    return PendingSamples(rays, collect)


def sample_camera_rays(
    cameras: RayCameras,
    occupancy: OccupancyLike,
    settings: RenderSettings,
    generator: torch.Generator,
    pending: PendingSamples | None,
) -> tuple[Rays, Samples]:
    """Return all rays of ``cameras`` and their samples: the ``pending`` ones, where given."""
    if pending is not None:
        return pending.rays, pending.collect()
    rays = Rays.from_cameras(cameras)
    return rays, sample_rays(rays, occupancy, settings, generator)


def sample_rays(rays: Rays, occupancy: OccupancyLike, settings: RenderSettings, generator: torch.Generator) -> Samples:
    """March rays through the occupied cells."""
    binary = occupancy.binary if isinstance(occupancy, OccupancyGrid) else occupancy
    return march(rays.origins, rays.directions, binary, step_size=settings.step_size, generator=generator)


def render_rays(
    field: Field, rays: Rays, *, occupancy: OccupancyLike, generator: torch.Generator, settings: RenderSettings
) -> RayOutputs:
    """Sample, shade and composite rays, differentiably in the field's parameters."""
    return render_samples(field, rays, sample_rays(rays, occupancy, settings, generator), settings)


def render_samples(
    field: Field, rays: Rays, samples: Samples, settings: RenderSettings, shaded_fraction: ShadedFraction | None = None
) -> RayOutputs:
    """Query the field at the samples of ``rays``, shade and composite them."""
    weight, albedo = weights_and_albedo(field, rays, samples)
    shaded = shaded_sample_indices(weight.detach(), rays, settings, shaded_fraction)
    return shade_and_composite(field, rays, samples, weight, albedo, shaded, settings)


def weights_and_albedo(field: Field, rays: Rays, samples: Samples) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3"]]:
    """Return the compositing weight and the albedo of every sample."""
    points = samples.positions(rays.origins, rays.directions)
    if isinstance(field, JointField):
        density, albedo = field.density_and_albedo(points)
    else:
        density, albedo = field.density(points), field.albedo(points)
    return compositing_weights(density, samples), albedo


def shaded_sample_indices(
    weight: Float[Tensor, " n"], rays: Rays, settings: RenderSettings, shaded_fraction: ShadedFraction | None
) -> Int64[Tensor, " m"]:
    """Return the indices of the samples that get a normal; none where the albedo alone is rendered."""
    if settings.shading == "albedo":
        return torch.empty(0, dtype=torch.int64, device=weight.device)
    max_samples = int(settings.max_shaded_per_ray * len(rays))
    return select_samples_to_shade(weight, settings.weight_cutoff, max_samples, shaded_fraction)


def shade_and_composite(
    field: Field,
    rays: Rays,
    samples: Samples,
    weight: Float[Tensor, " n"],
    albedo: Float[Tensor, "n 3"],
    shaded: Tensor,
    settings: RenderSettings,
) -> RayOutputs:
    """Compute the normals of the ``shaded`` samples, light all samples and sum them along the rays."""
    points = samples.positions(rays.origins, rays.directions, shaded)
    normals = density_normals(field, points, settings.normal_epsilon)
    shading, ray_normals = _sample_shading(weight.detach(), normals, shaded, samples, rays)
    light, one = shading[:, None], torch.ones_like(weight)[:, None]
    colors = {"lambert": albedo * light, "albedo": albedo, "textureless": light.expand_as(albedo)}
    values = torch.cat([colors[settings.shading], one, samples.midpoints()[:, None], albedo], -1)
    accumulated = accumulate(weight, values, samples.ray_indices, len(rays))
    opacity, distance = accumulated[:, 3], accumulated[:, 4]
    depth = torch.where(opacity > MIN_HIT_OPACITY, distance / opacity.clamp(min=MIN_HIT_OPACITY), 0.0)
    rgb, unlit, ray_normals = accumulated[:, :3], accumulated[:, 5:], ray_normals * opacity[:, None]
    return RayOutputs(rgb, opacity, depth, ray_normals, unlit, weight, shaded, normals)


def assemble_render(outputs: RayOutputs, cameras: RayCameras, settings: RenderSettings) -> Render:
    """Reshape the outputs of all rays of ``cameras`` to images."""
    shape = (len(cameras), cameras.height, cameras.width)
    normals = None if settings.shading == "albedo" else outputs.normals.reshape(*shape, 3)
    return Render(outputs.rgb.reshape(*shape, 3), outputs.opacity.reshape(shape), outputs.depth.reshape(shape), normals)


def assemble_aux(outputs: RayOutputs, cameras: RayCameras, rays: Rays, samples: Samples) -> SampleAux:
    """Collect what the regularizers need."""
    albedo = outputs.albedo.reshape(len(cameras), cameras.height, cameras.width, 3)
    return SampleAux(samples, outputs.weights, rays.directions, outputs.shaded, outputs.shaded_normals, albedo)


def density_normals(field: Field, x: Float[Tensor, "m 3"], epsilon: float) -> Float[Tensor, "m 3"]:
    """Return unit vectors along -grad(density), by differences of a monotonic function of the density.

    They are zero where the field is flat. Differentiable: four queries on a tetrahedron.
    """
    corners = constant_like(TETRAHEDRON_CORNERS, x)
    stencil = (x[:, None, :] + epsilon * corners).reshape(-1, 3)
    # the floor stands for empty space, whose logarithm would outweigh every surface
    value = field.density_logit(stencil) if isinstance(field, JointField) else torch.log(field.density(stencil) + 1e-3)
    descent = -(value.reshape(-1, 4) @ corners)
    # squared before the root, so that a flat field has a finite gradient
    return descent * torch.rsqrt(descent.square().sum(-1, keepdim=True) + 1e-12)


def _sample_shading(
    weight: Float[Tensor, " n"], normals: Float[Tensor, "m 3"], shaded: Tensor, samples: Samples, rays: Rays
) -> tuple[Float[Tensor, " n"], Float[Tensor, "r 3"]]:
    """Return the shading of every sample and the mean normal, of at most unit length, of every ray.

    The weights are constants here: a surface must not move to even out its shading.
    """
    ray = samples.ray_indices.index_select(0, shaded)
    shaded_shading = lambert_shading(normals, rays.light_directions.index_select(0, ray))
    shaded_weight = weight.index_select(0, shaded)
    values = torch.cat([shaded_shading[:, None], normals, torch.ones_like(shaded_shading)[:, None]], -1)
    sums = accumulate(shaded_weight, values, ray, len(rays))
    total = sums[:, 4:]
    mean = sums[:, :4] / total.clamp(min=MIN_HIT_OPACITY)
    shading = torch.where(total[:, 0] > MIN_HIT_OPACITY, mean[:, 0], MEAN_SHADING).index_select(0, samples.ray_indices)
    return shading.index_copy(0, shaded, shaded_shading), mean[:, 1:]
