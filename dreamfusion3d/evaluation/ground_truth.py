"""Ground-truth objects as finished meshes: what a perfect asset of a prompt would be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.evaluation.voxels import FRAME_HALF_EXTENT, VOXEL_RESOLUTION, voxel_centers
from dreamfusion3d.mesh.clean import extract_solid
from dreamfusion3d.mesh.isosurface import QUERY_CHUNK
from dreamfusion3d.mesh.tangents import vertex_normals
from dreamfusion3d.procedural.materials import material_mask
from dreamfusion3d.procedural.objects import ObjectBatch, ObjectSpec
from dreamfusion3d.procedural.renderer import MASKED_LAYER_OFFSET, sdf_normals

SWATCH_TEXELS = 4  # edge of a color's swatch, so that bilinear sampling stays within one color
GROUND_TRUTH_BOUND = 0.88  # half edge of the sampled cube, beyond every object
BLOCK = 4  # samples per edge of the blocks that are skipped far from the surface
SAFE_FRACTION = 0.7  # of `step_scale`, which holds outside; inside, distances of thin parts overestimate more


def palette_indices(
    objects: ObjectBatch, index: int, points: Float[np.ndarray, "n 3"], material: str
) -> Int[np.ndarray, " n"]:
    """Index into `ObjectSpec.part_colors` of each surface point of object ``index``."""
    positions = torch.from_numpy(np.ascontiguousarray(points)).float()
    rows = torch.full((len(positions),), index)
    part = objects.part_distances(positions, rows).argmin(0)
    masked = material_mask(material, objects.unscaled(positions, rows), sdf_normals(objects, positions, rows)) > 0.5
    return torch.where((part < 2) & masked, part + MASKED_LAYER_OFFSET, part).numpy()


def colored_ground_truth_mesh(objects: ObjectBatch, index: int, spec: ObjectSpec, resolution: int = 96) -> TexturedMesh:
    """Mesh of object ``index`` in the colors of ``spec``; each face has the color at its center."""
    return color_by_part(ground_truth_mesh(objects, index, resolution), objects, index, spec)


def color_by_part(mesh: Mesh, objects: ObjectBatch, index: int, spec: ObjectSpec) -> TexturedMesh:
    """Color a mesh of object ``index``; each face has the color at its center."""
    color_index = palette_indices(objects, index, mesh.vertices[mesh.faces].mean(1), spec.material)
    colored = color_faces(mesh, color_index, spec.part_colors())
    surfaces = (np.array(spec.part_surfaces()) * 255).round().astype(np.uint8)
    return replace(colored, metallic_roughness=np.repeat(surfaces[None], SWATCH_TEXELS, 0).repeat(SWATCH_TEXELS, 1))


def color_faces(
    mesh: Mesh, color_index: Int[np.ndarray, " f"], palette: list[tuple[float, float, float]]
) -> TexturedMesh:
    """Texture each face with one color of ``palette``. Faces share no vertices, so colors do not bleed."""
    strip = np.repeat((np.array(palette) * 255).round().astype(np.uint8)[None], SWATCH_TEXELS, 0)
    corners = mesh.faces.reshape(-1)
    u = (color_index + 0.5) / len(palette)
    uv = np.stack([np.repeat(u, 3), np.full(3 * len(u), 0.5)], -1)
    return TexturedMesh(
        mesh.vertices[corners],
        np.arange(len(corners)).reshape(-1, 3),
        vertex_normals(mesh)[corners],
        uv,
        np.repeat(strip, SWATCH_TEXELS, 1),
    )


@torch.no_grad()
def ground_truth_voxels(
    objects: ObjectBatch, index: int, resolution: int = VOXEL_RESOLUTION
) -> Bool[np.ndarray, "r r r"]:
    """Voxel grid of object ``index`` in the comparison frame."""
    low, high = _bounding_box(objects, index)
    scale = float((high - low).max()) / (2 * FRAME_HALF_EXTENT)
    line = torch.from_numpy(voxel_centers(resolution)).float() * scale
    return (_sample_distance(objects, index, line, offset=(low + high) / 2) < 0).numpy()


@torch.no_grad()
def _sample_distance(
    objects: ObjectBatch,
    index: int,
    line: Float[Tensor, " r"],
    *,
    offset: Float[Tensor, " 3"] | None = None,
    band: int = 0,
) -> Float[Tensor, "r r r"]:
    """Sample the distance of object ``index`` on a cubic grid, coarsely far from the surface.

    Blocks that lie more than ``band`` steps from the surface hold the distance of their middle, which has the same
    sign. They are most of a grid.

    Args:
        line: Evenly spaced coordinates along each axis.
        offset: Added to all points.
        band: Steps from the surface within which every sample is exact.
    """
    offset = torch.zeros(3) if offset is None else offset
    first = torch.arange(0, len(line), BLOCK)
    middle = (line[first] + line[(first + BLOCK - 1).clamp(max=len(line) - 1)]) / 2

    def query(points: Tensor) -> Tensor:
        index_of = torch.full((QUERY_CHUNK,), index)
        parts = [objects.distance(p, index_of[: len(p)]) for p in (points + offset).split(QUERY_CHUNK)]
        return torch.cat(parts)

    def to_samples(blocks: Tensor) -> Tensor:
        for axis in range(3):
            blocks = blocks.repeat_interleave(BLOCK, axis).narrow(axis, 0, len(line))
        return blocks

    coarse = query(torch.cartesian_prod(middle, middle, middle)).view((len(middle),) * 3)
    reach = float(line[1] - line[0]) * ((BLOCK - 1) / 2 + band) * 3**0.5
    near = to_samples(coarse.abs() * SAFE_FRACTION * objects.step_scale[index] < reach)
    grid = to_samples(coarse)
    grid[near] = query(line[near.nonzero()])
    return grid


def _bounding_box(
    objects: ObjectBatch, index: int, resolution: int = 56, half_extent: float = 0.9
) -> tuple[Tensor, Tensor]:
    """Corners of the bounding box, from the samples within half a grid step of the solid."""
    line = torch.linspace(-half_extent, half_extent, resolution)
    step = 2 * half_extent / (resolution - 1)
    grid = torch.cartesian_prod(line, line, line)
    distance = _sample_distance(objects, index, line, band=1).view(-1)
    near = distance < 0.5 * step
    # a sample outside lies `distance` beyond the surface, so each face of the box is pulled in by it
    low = torch.stack([(grid[near, k] + distance[near].clamp(min=0)).amin() for k in range(3)])
    high = torch.stack([(grid[near, k] - distance[near].clamp(min=0)).amax() for k in range(3)])
    return low - 0.25 * step, high + 0.25 * step


def ground_truth_grid(objects: ObjectBatch, index: int, resolution: int = 128) -> Float[np.ndarray, "r r r"]:
    """Sample the depth below the surface of object ``index`` over the cube, coarse far from it; negative outside."""
    line = np.linspace(-GROUND_TRUTH_BOUND, GROUND_TRUTH_BOUND, resolution, dtype=np.float32)
    return -_sample_distance(objects[[index]].to("cpu"), 0, torch.from_numpy(line), band=3).numpy()


def ground_truth_mesh(objects: ObjectBatch, index: int, resolution: int = 128) -> Mesh:
    """Surface of object ``index``: closed, one component, faces oriented outwards."""
    return extract_solid(ground_truth_grid(objects, index, resolution), 0.0, GROUND_TRUTH_BOUND)
