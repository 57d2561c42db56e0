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

from dreamfusion3d.cameras.orbit import Cameras
from dreamfusion3d.core.backends import constant
from dreamfusion3d.core.shading import MEAN_SHADE, light_direction, shade
from dreamfusion3d.core.types import Field, Render
from dreamfusion3d.rendering.compositing import accumulate, weights
from dreamfusion3d.rendering.occupancy_grid import Occupancy
from dreamfusion3d.rendering.ray_march import Samples, march, march_later
from dreamfusion3d.rendering.shading_budget import LitShare, choose_lit

# Corners of a tetrahedron: the sum of e f(x + epsilon e) over them is 4 epsilon grad f + O(epsilon^2)
TETRAHEDRON = ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0))
HIT = 1e-4  # opacity below which a ray has no depth


@runtime_checkable
class JointField(Field, Protocol):
    """What a field may offer besides to be rendered faster and with steadier normals."""

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
    albedo: Float[Tensor, "b h w 3"]  # without light, premultiplied

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
    marched: Marched | None = None,
    share: LitShare | None = None,
) -> tuple[Render, Detail]:
    """As ``render``, with the samples the pictures were made of.

    ``marched`` are the cameras' rays where they have been sent already, and ``share`` says how many samples
    to light; with both nothing here waits for what a GPU was asked since the rays were sent.
    """
    rays, samples = rays_and_samples(cameras, occupancy, settings, generator, marched)
    weight, albedo = weigh(field, rays, samples)
    lit = lit_of(weight.detach(), rays, settings, share)
    seen = light_up(field, rays, samples, weight, albedo, lit, settings)
    return pictures_of(seen, cameras, settings), detail_of(seen, cameras, rays, samples)


@dataclass(frozen=True)
class Rays:
    """Those of ``b`` cameras, numbered through b, h, w; or a part of them that begins with ray ``first``."""

    origins: Float[Tensor, "r 3"]
    directions: Float[Tensor, "r 3"]
    light: Float[Tensor, "b 3"]
    pixels: int  # of a camera
    first: int = 0

    @staticmethod
    def of(cameras: Cameras) -> Rays:
        origins, directions = (t.reshape(-1, 3) for t in cameras.rays())
        light = light_direction(cameras.camera_to_world)
        return Rays(origins, directions, light, cameras.height * cameras.width)

    def part(self, first: int, last: int) -> Rays:
        return Rays(
            self.origins[first:last], self.directions[first:last], self.light, self.pixels, self.first + first
        )

    def __len__(self) -> int:
        return self.origins.shape[0]


@dataclass(frozen=True)
class Seen:
    """What rays see: of each ray, premultiplied, and of its samples."""

    rgb: Float[Tensor, "r 3"]
    opacity: Float[Tensor, " r"]
    depth: Float[Tensor, " r"]
    normals: Float[Tensor, "r 3"]
    albedo: Float[Tensor, "r 3"]  # without light
    weights: Float[Tensor, " n"]
    lit: Tensor
    lit_normals: Float[Tensor, "m 3"]


@dataclass(frozen=True)
class Marched:
    """Rays whose samples are being counted; ``samples()`` waits for their number, and lists them."""

    rays: Rays
    samples: Callable[[], Samples]


def march_ahead(
    cameras: Cameras, occupancy: Occupancy, settings: RenderSettings, generator: torch.Generator
) -> Marched:
    """``occupancy`` is looked at now, and may change before the samples are listed."""
    rays = Rays.of(cameras)
    return Marched(rays, march_later(
        rays.origins, rays.directions, occupancy.binary, step_size=settings.step_size, generator=generator
    ))


def rays_and_samples(
    cameras: Cameras, occupancy: Occupancy | Bool[Tensor, "x y z"], settings: RenderSettings,
    generator: torch.Generator, marched: Marched | None,
) -> tuple[Rays, Samples]:
    if marched is not None:
        return marched.rays, marched.samples()
    rays = Rays.of(cameras)
    return rays, march_through(rays, occupancy, settings, generator)


def march_through(
    rays: Rays, occupancy: Occupancy | Bool[Tensor, "x y z"], settings: RenderSettings,
    generator: torch.Generator,
) -> Samples:
    binary = occupancy.binary if isinstance(occupancy, Occupancy) else occupancy
    return march(rays.origins, rays.directions, binary, step_size=settings.step_size, generator=generator)


def weigh(field: Field, rays: Rays, samples: Samples) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3"]]:
    """Weight and albedo of every sample."""
    density, albedo = _density_and_albedo(field, samples.positions(rays.origins, rays.directions))
    return weights(density, samples), albedo


def lit_of(
    weight: Float[Tensor, " n"], rays: Rays, settings: RenderSettings, share: LitShare | None
) -> Int64[Tensor, " m"]:
    if settings.shading == "albedo":
        return torch.empty(0, dtype=torch.int64, device=weight.device)
    return choose_lit(weight, settings.weight_cutoff, int(settings.lit_per_ray * len(rays)), share)


def light_up(
    field: Field, rays: Rays, samples: Samples, weight: Float[Tensor, " n"], albedo: Float[Tensor, "n 3"],
    lit: Tensor, settings: RenderSettings,
) -> Seen:
    """Normals of the samples ``lit``, light, and sums along the rays."""
    points = samples.positions(rays.origins, rays.directions, lit)
    normals = density_normals(field, points, settings.normal_epsilon)
    factor, ray_normals = _light(weight.detach(), normals, lit, samples, rays)
    colour = {
        "lambert": albedo * factor[:, None],
        "albedo": albedo,
        "textureless": factor[:, None].expand_as(albedo),
    }[settings.shading]
    values = torch.cat([colour, torch.ones_like(weight)[:, None], samples.midpoints()[:, None], albedo], -1)
    summed = accumulate(weight, values, samples.ray_indices, len(rays))
    opacity, distance = summed[:, 3], summed[:, 4]
    depth = torch.where(opacity > HIT, distance / opacity.clamp(min=HIT), 0.0)
    return Seen(
        summed[:, :3], opacity, depth, ray_normals * opacity[:, None], summed[:, 5:], weight, lit, normals
    )


def pictures_of(seen: Seen, cameras: Cameras, settings: RenderSettings) -> Render:
    shape = (len(cameras), cameras.height, cameras.width)
    normals = None if settings.shading == "albedo" else seen.normals.reshape(*shape, 3)
    return Render(
        seen.rgb.reshape(*shape, 3), seen.opacity.reshape(shape), seen.depth.reshape(shape), normals
    )


def detail_of(seen: Seen, cameras: Cameras, rays: Rays, samples: Samples) -> Detail:
    albedo = seen.albedo.reshape(len(cameras), cameras.height, cameras.width, 3)
    return Detail(samples, seen.weights, rays.directions, seen.lit, seen.lit_normals, albedo)


def density_normals(field: Field, x: Float[Tensor, "m 3"], epsilon: float) -> Float[Tensor, "m 3"]:
    """Unit vectors along -grad(density) by differences of a monotonic function of the density.

    Zero where the field is flat. Differentiable: four queries on a tetrahedron.
    """
    corners = constant(TETRAHEDRON, x)
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


def _light(
    weight: Tensor, normals: Tensor, lit: Tensor, samples: Samples, rays: Rays
) -> tuple[Tensor, Tensor]:
    """Shade (n,) of every sample and mean normal (r, 3), at most of unit length, of every ray.

    The weights are constants here: a surface must not move to even out its own shade.
    """
    ray = samples.ray_indices.index_select(0, lit)
    light = rays.light.index_select(0, (ray + rays.first) // rays.pixels)
    shades = shade(normals, light)
    share = weight.index_select(0, lit)
    values = torch.cat([shades[:, None], normals, torch.ones_like(shades)[:, None]], -1)
    sums = accumulate(share, values, ray, len(rays))
    total = sums[:, 4:]
    mean = sums[:, :4] / total.clamp(min=HIT)
    unlit = torch.where(total[:, 0] > HIT, mean[:, 0], MEAN_SHADE).index_select(0, samples.ray_indices)
    return unlit.index_copy(0, lit, shades), mean[:, 1:]
