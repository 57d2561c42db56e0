"""Sphere-traced renders of procedural objects, anti-aliased at the silhouette."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.finite_differences import unit_gradient
from dreamfusion3d.core.shading import lambert_shading, light_direction
from dreamfusion3d.procedural.materials import material_mask
from dreamfusion3d.procedural.objects import ObjectBatch

MAX_TRACE_STEPS = 48
BOUNDING_SPHERE_RADIUS = 1.0  # of all objects
NUM_SHADING_LAYERS = 5  # part A, part B, accent, and parts A and B inside the material mask
MASKED_LAYER_OFFSET = 3  # from a part's layer to its layer inside the material mask


@dataclass(frozen=True)
class ShadingLayers:
    """Renders before colors are applied: the shading of each layer, and opacity.

    Premultiplied rgb is the sum over layers of ``shading * color``, so a stored render can be
    colorized differently in every batch.
    """

    shading: Float[Tensor, "b 5 h w"]
    opacity: Float[Tensor, "b h w"]

    def colorize(self, colors: Float[Tensor, "b 5 3"]) -> Float[Tensor, "b h w 3"]:
        """Apply sRGB colors of the layers; returns premultiplied sRGB."""
        return torch.einsum("bphw,bpc->bhwc", self.shading, colors)


@torch.no_grad()
def render_objects(
    objects: ObjectBatch,
    cameras: OrbitCameras,
    material: str = "plain",
    light_directions: Float[Tensor, "b 3"] | None = None,
) -> ShadingLayers:
    """Render object ``i`` from camera ``i``, all in one material.

    The traced surface lies half a pixel inside the true one. Coverage of a ray that misses it
    falls linearly with the closest distance, and is one half exactly at the true outline.

    Args:
        light_directions: Unit vectors towards the light in world space; None: fixed to the camera.
    """
    b, h, w = len(cameras), cameras.height, cameras.width
    origins, directions = (r.reshape(-1, 3) for r in cameras.rays())
    index = torch.arange(b, device=origins.device).repeat_interleave(h * w)
    pixel_width = (1 / cameras.focal)[index]  # width of a pixel per unit of distance
    half_pixel = 0.5 * pixel_width * cameras.distance[index]
    hit, min_distance, min_distance_depth = _trace(objects, origins, directions, index, half_pixel)
    coverage = torch.where(hit, torch.ones_like(min_distance), (1 - min_distance / (2 * half_pixel)).clamp(0, 1))
    layers = torch.zeros(b * h * w, NUM_SHADING_LAYERS, device=origins.device)
    visible = torch.nonzero(coverage > 0).squeeze(1)
    points = origins[visible] + min_distance_depth[visible, None] * directions[visible]
    part = objects.part_distances(points, index[visible]).argmin(0)
    normals = sdf_normals(objects, points, index[visible])
    to_light = light_direction(cameras.camera_to_world) if light_directions is None else light_directions
    brightness = lambert_shading(normals, to_light[index[visible]])
    shading = coverage[visible] * brightness
    # the accent has no material
    mask = material_mask(material, objects.unscaled(points, index[visible]), normals) * (part < 2)
    layers[visible, part] = shading * (1 - mask)
    layers[visible, torch.where(part < 2, part + MASKED_LAYER_OFFSET, part)] += shading * mask
    return ShadingLayers(layers.view(b, h, w, NUM_SHADING_LAYERS).permute(0, 3, 1, 2), coverage.view(b, h, w))


def _trace(
    objects: ObjectBatch, origins: Tensor, directions: Tensor, index: Tensor, half_pixel: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return whether each ray hits the inner surface, its closest distance to it, and the depth of that."""
    # rays that miss the bounding sphere are not marched
    midpoint_depth = -(origins * directions).sum(-1)
    miss_distance2 = (origins * origins).sum(-1) - midpoint_depth * midpoint_depth
    radius2 = BOUNDING_SPHERE_RADIUS**2
    half_chord = torch.sqrt((radius2 - miss_distance2).clamp(min=0))
    t, depth_out = midpoint_depth - half_chord, midpoint_depth + half_chord
    step_scale = objects.step_scale[index]
    min_distance, min_distance_depth = torch.full_like(t, 1e3), t.clone()
    hit_any = torch.zeros_like(t, dtype=torch.bool)
    active = torch.nonzero(miss_distance2 < radius2).squeeze(1)
    for _ in range(MAX_TRACE_STEPS):
        if active.numel() == 0:
            break
        depth = t[active]
        points = origins[active] + depth[:, None] * directions[active]
        distance = objects.distance(points, index[active]) + half_pixel[active]
        closer = distance < min_distance[active]
        min_distance[active] = torch.where(closer, distance, min_distance[active])
        min_distance_depth[active] = torch.where(closer, depth, min_distance_depth[active])
        hit = distance < 3e-3
        hit_any[active] |= hit
        t[active] = depth + (distance * step_scale[active]).clamp(min=4e-3)
        active = active[~hit & (t[active] < depth_out[active])]
    return hit_any, min_distance, min_distance_depth


def sdf_normals(
    objects: ObjectBatch, points: Float[Tensor, "n 3"], index: Tensor, epsilon: float = 4e-3
) -> Float[Tensor, "n 3"]:
    """Unit gradients of the distance by finite differences."""
    return unit_gradient(lambda x: objects.distance(x, index), points, epsilon)
