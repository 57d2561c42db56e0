"""Subprocess that runs QuadriFlow: native code that prints and may hang.

Usage: `python -m dreamfusion3d.mesh.quads_worker IN.npz OUT.npz`.
"""

from __future__ import annotations

import sys

import numpy as np

SEED = 0


def main(source: str, target: str) -> None:
    """Read vertices, triangles and the target number of quads; write vertices and quads."""
    from pyQuadriFlow.pyQuadriFlow import pyquadriflow

    with np.load(source, allow_pickle=False) as arrays:
        vertices, faces, quads = arrays["vertices"].tolist(), arrays["faces"].tolist(), int(arrays["quads"])
    # no sharp edges, boundaries, adaptive scale or slower solvers: the meshes are closed and smooth
    remeshed = pyquadriflow(quads, SEED, vertices, faces, False, False, False, False, False)
    quad_faces = np.asarray(remeshed["faces"], np.int64)
    if quad_faces.ndim != 2 or quad_faces.shape[1] != 4 or not len(quad_faces):
        raise SystemExit("not all faces are quads")
    np.savez(target, vertices=np.asarray(remeshed["vertices"], np.float64), quads=quad_faces)


if __name__ == "__main__":
    main(*sys.argv[1:3])
