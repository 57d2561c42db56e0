"""True props as finished meshes: what a perfect asset of a prompt would be."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.evaluation.voxels import REACH, RESOLUTION, axis
from dreamfusion3d.mesh.clean import solid_mesh
from dreamfusion3d.mesh.isosurface import sample_grid
from dreamfusion3d.mesh.tangents import vertex_normals
from dreamfusion3d.procedural.materials import masks
from dreamfusion3d.procedural.objects import Instances, Meaning
from dreamfusion3d.procedural.renderer import surface_normals

SWATCH = 4  # texels of each colour: sampling between texels stays within one


def parts_at(
    props: Instances, index: int, points: Float[np.ndarray, "n 3"], finish: str
) -> Int[np.ndarray, " n"]:
    """Which colour of ``Meaning.paints`` each surface point of one instance has."""
    where = torch.from_numpy(np.ascontiguousarray(points)).float()
    rows = torch.full((len(where),), index)
    part = props.parts(where, rows).argmin(0)
    inside = masks(finish, props.unscaled(where, rows), surface_normals(props, where, rows)) > 0.5
    return torch.where((part < 2) & inside, part + 3, part).numpy()


def true_mesh(props: Instances, index: int, meaning: Meaning, resolution: int = 96) -> TexturedMesh:
    """Instance ``index`` painted as ``meaning`` says, every face in the colour of its middle."""
    mesh = ground_truth_mesh(props, index, resolution)
    colour = parts_at(props, index, mesh.vertices[mesh.faces].mean(1), meaning.finish)
    return painted(mesh, colour, meaning.paints())


def painted(
    mesh: Mesh, colour: Int[np.ndarray, " f"], colours: list[tuple[float, float, float]]
) -> TexturedMesh:
    """Each face in one of ``colours``; its corners are its own, so that no colour runs into another."""
    strip = np.repeat((np.array(colours) * 255).round().astype(np.uint8)[None], SWATCH, 0)
    corners = mesh.faces.reshape(-1)
    u = (colour + 0.5) / len(colours)
    uv = np.stack([np.repeat(u, 3), np.full(3 * len(u), 0.5)], -1)
    return TexturedMesh(
        mesh.vertices[corners], np.arange(len(corners)).reshape(-1, 3), vertex_normals(mesh)[corners], uv,
        np.repeat(strip, SWATCH, 1),
    )


@torch.no_grad()
def true_solid(props: Instances, index: int, resolution: int = RESOLUTION) -> Bool[np.ndarray, "r r r"]:
    """Instance ``index`` in the frame of comparison."""
    low, high = _bounds(props, index)
    scale = float((high - low).max()) / (2 * REACH)
    line = torch.from_numpy(axis(resolution)).float() * scale
    grid = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    inside = props.distance(grid + (low + high) / 2, torch.full((len(grid),), index)) < 0
    return inside.view((resolution,) * 3).numpy()


def _bounds(props: Instances, index: int, resolution: int = 56, reach: float = 0.9) -> tuple[Tensor, Tensor]:
    """Corners of the bounding box: that of the samples within half a step of the solid."""
    line = torch.linspace(-reach, reach, resolution)
    step = 2 * reach / (resolution - 1)
    grid = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    distance = props.distance(grid, torch.full((len(grid),), index))
    near = distance < 0.5 * step
    # a sample that far outside lies that far beyond the surface: each face of the box is pulled in
    low = torch.stack([(grid[near, k] + distance[near].clamp(min=0)).amin() for k in range(3)])
    high = torch.stack([(grid[near, k] - distance[near].clamp(min=0)).amax() for k in range(3)])
    return low - 0.25 * step, high + 0.25 * step
BOUND = 0.88  # of the grid: beyond every prop


def ground_truth_grid(props: Instances, index: int, resolution: int = 128) -> Float[np.ndarray, "r r r"]:
    """Depth below the surface of instance ``index`` over [-BOUND, BOUND]^3, negative outside."""
    prop = props[[index]].to("cpu")

    @torch.no_grad()
    def depth(points: np.ndarray) -> np.ndarray:
        where = torch.from_numpy(points)
        return -prop.distance(where, torch.zeros(len(where), dtype=torch.int64)).numpy()

    return sample_grid(depth, resolution, BOUND)


def ground_truth_mesh(props: Instances, index: int, resolution: int = 128) -> Mesh:
    """The surface of instance ``index``: closed, wound outwards, one body."""
    return solid_mesh(ground_truth_grid(props, index, resolution), 0.0, BOUND)
