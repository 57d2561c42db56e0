"""One small textured asset to open in other people's programs, in every format."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from dreamfusion3d.core.config import FormatName
from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.mesh.clean import extract_solid
from dreamfusion3d.mesh.io.axes import CoordinateFrame, scale_to_height
from dreamfusion3d.mesh.io.formats import asset_extras, write_asset
from dreamfusion3d.mesh.isosurface import sample_grid
from dreamfusion3d.mesh.lods import unwrap_and_bake
from dreamfusion3d.mesh.normal_map import build_high_poly
from dreamfusion3d.mesh.simplify import simplify

HEIGHT = 1.5  # metres
SIZE = np.array([2 * HEIGHT, HEIGHT, 1.5 * HEIGHT])  # metres along x (aside), y (up), z (front)
TEXTURE = 128  # pixels
NAME = "clay_ball"
EXTRAS = asset_extras("a clay ball", 7, "embedded")


def colour(p: np.ndarray) -> np.ndarray:
    """Of a place in scene units: every axis has its channel, so that no turn leaves it as it is."""
    return np.clip(0.5 + np.array([0.5, 1.0, 0.7]) * p, 0, 1)


@functools.cache
def ball() -> TexturedMesh:
    """An ellipsoid twice as wide (x) as high, with depth 1.5 times its height; metres, +Y up."""
    radii = np.array([0.8, 0.4, 0.6], np.float32)
    grid = sample_grid(lambda p: 1 - np.linalg.norm(p / radii, axis=1), 48)
    fine = extract_solid(grid, 0.0)
    mesh = simplify(fine, 1500)
    return scale_to_height(unwrap_and_bake(mesh, colour, build_high_poly(fine), TEXTURE, occlusion=True), HEIGHT)


def clay_ball(folder: Path, kind: FormatName = "glb", frame: CoordinateFrame | None = None) -> Path:
    """The ball as a file of one format."""
    return write_asset(kind, ball(), folder / f"{NAME}.{kind}", NAME, EXTRAS, frame)[0]
