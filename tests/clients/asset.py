"""One small textured asset to open in other people's programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dreamfusion3d.mesh.clean import solid_mesh
from dreamfusion3d.mesh.detail import fine_surface
from dreamfusion3d.mesh.export import place, write_glb
from dreamfusion3d.mesh.extract import sample_grid
from dreamfusion3d.mesh.lods import dress
from dreamfusion3d.mesh.simplify import simplify

HEIGHT = 1.5  # metres
NAME = "clay_ball"
EXTRAS = {"prompt": "a clay ball", "seed": 7}


def clay_ball(folder: Path) -> Path:
    """An ellipsoid twice as wide (x) as high, with depth 1.5 times its height."""
    radii = np.array([0.8, 0.4, 0.6], np.float32)
    grid = sample_grid(lambda p: 1 - np.linalg.norm(p / radii, axis=1), 48)
    fine = solid_mesh(grid, 0.0)
    mesh = simplify(fine, 1500)
    dressed = dress(mesh, lambda p: 0.5 + 0.4 * p, fine_surface(fine), 128, occlusion=True)
    textured = place(dressed, HEIGHT)
    write_glb(textured, folder / f"{NAME}.glb", NAME, EXTRAS)
    return folder / f"{NAME}.glb"
