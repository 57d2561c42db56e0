"""True props as finished meshes: what a perfect asset of a prompt would be."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.evaluation.voxels import FRAME_HALF_EXTENT, VOXEL_RESOLUTION, voxel_centers
from dreamfusion3d.mesh.clean import extract_solid
from dreamfusion3d.mesh.isosurface import sample_grid
from dreamfusion3d.mesh.tangents import vertex_normals
from dreamfusion3d.procedural.materials import material_mask
from dreamfusion3d.procedural.objects import ObjectBatch, ObjectSpec
from dreamfusion3d.procedural.renderer import sdf_normals

SWATCH_TEXELS = 4  # texels of each colour: sampling between texels stays within one


def palette_indices(
    objects: ObjectBatch, index: int, points: Float[np.ndarray, "n 3"], material: str
) -> Int[np.ndarray, " n"]:
    """Which colour of ``Meaning.paints`` each surface point of one instance has."""
    positions = torch.from_numpy(np.ascontiguousarray(points)).float()
    rows = torch.full((len(positions),), index)
    part = objects.part_distances(positions, rows).argmin(0)
    masked = material_mask(material, objects.unscaled(positions, rows), sdf_normals(objects, positions, rows)) > 0.5
    return torch.where((part < 2) & masked, part + 3, part).numpy()


def colored_ground_truth_mesh(objects: ObjectBatch, index: int, spec: ObjectSpec, resolution: int = 96) -> TexturedMesh:
    """Instance ``index`` painted as ``meaning`` says, every face in the colour of its middle."""
    mesh = ground_truth_mesh(objects, index, resolution)
    color_index = palette_indices(objects, index, mesh.vertices[mesh.faces].mean(1), spec.material)
    return color_faces(mesh, color_index, spec.part_colors())


def color_faces(
    mesh: Mesh, color_index: Int[np.ndarray, " f"], palette: list[tuple[float, float, float]]
) -> TexturedMesh:
    """Each face in one of ``colours``; its corners are its own, so that no colour runs into another."""
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
    """Instance ``index`` in the frame of comparison."""
    low, high = _bounding_box(objects, index)
    scale = float((high - low).max()) / (2 * FRAME_HALF_EXTENT)
    line = torch.from_numpy(voxel_centers(resolution)).float() * scale
    grid = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    inside = objects.distance(grid + (low + high) / 2, torch.full((len(grid),), index)) < 0
    return inside.view((resolution,) * 3).numpy()


def _bounding_box(
    objects: ObjectBatch, index: int, resolution: int = 56, half_extent: float = 0.9
) -> tuple[Tensor, Tensor]:
    """Corners of the bounding box: that of the samples within half a step of the solid."""
    line = torch.linspace(-half_extent, half_extent, resolution)
    step = 2 * half_extent / (resolution - 1)
    grid = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    distance = objects.distance(grid, torch.full((len(grid),), index))
    near = distance < 0.5 * step
    # a sample that far outside lies that far beyond the surface: each face of the box is pulled in
    low = torch.stack([(grid[near, k] + distance[near].clamp(min=0)).amin() for k in range(3)])
    high = torch.stack([(grid[near, k] - distance[near].clamp(min=0)).amax() for k in range(3)])
    return low - 0.25 * step, high + 0.25 * step


TRUE_GRID_BOUND = 0.88  # of the grid: beyond every prop


def ground_truth_grid(objects: ObjectBatch, index: int, resolution: int = 128) -> Float[np.ndarray, "r r r"]:
    """Depth below the surface of instance ``index`` over [-BOUND, BOUND]^3, negative outside."""
    obj = objects[[index]].to("cpu")

    @torch.no_grad()
    def depth(points: np.ndarray) -> np.ndarray:
        positions = torch.from_numpy(points)
        return -obj.distance(positions, torch.zeros(len(positions), dtype=torch.int64)).numpy()

    return sample_grid(depth, resolution, TRUE_GRID_BOUND)


def ground_truth_mesh(objects: ObjectBatch, index: int, resolution: int = 128) -> Mesh:
    """The surface of instance ``index``: closed, wound outwards, one body."""
    return extract_solid(ground_truth_grid(objects, index, resolution), 0.0, TRUE_GRID_BOUND)
