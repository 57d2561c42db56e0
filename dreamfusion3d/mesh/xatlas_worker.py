"""Subprocess that runs xatlas, which can hang or crash on unusual input.

Usage: `python -m dreamfusion3d.mesh.xatlas_worker IN.npz OUT.npz`. It imports only numpy and xatlas, not
torch, so that it starts in a tenth of a second.
"""

from __future__ import annotations

import sys

import numpy as np


def main(source: str, target: str) -> None:
    """Read vertices, faces, size and padding (texels); write vmapping, faces and uv in texels."""
    import xatlas

    with np.load(source, allow_pickle=False) as arrays:
        vertices, faces = arrays["vertices"].astype(np.float32), arrays["faces"].astype(np.uint32)
        size, padding = int(arrays["size"]), int(arrays["padding"])
    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices, faces)
    packing = xatlas.PackOptions()
    packing.resolution, packing.padding, packing.bilinear = size, padding, True
    packing.rotate_charts = False  # xatlas rotates by swapping u and v, which mirrors the chart
    charts = xatlas.ChartOptions()
    charts.fix_winding = True  # nor may charts be mirrored before packing
    atlas.generate(charts, packing)
    if atlas.atlas_count != 1:
        raise SystemExit(f"xatlas spread the charts over {atlas.atlas_count} textures")
    vmapping, indices, uv = atlas.get_mesh(0)
    # the resolution is only a hint: read back the actual size of the atlas
    texels = uv.astype(np.float64) * (atlas.width, atlas.height)
    side = np.int64(max(atlas.width, atlas.height))
    np.savez(target, vmapping=vmapping.astype(np.int64), faces=indices.astype(np.int64), texels=texels, side=side)


if __name__ == "__main__":
    main(*sys.argv[1:3])
