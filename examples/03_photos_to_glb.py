"""Reconstruct a GLB from posed photos: `dreamfusion3d reconstruct` as a function, on photos that this script renders.

    python examples/03_photos_to_glb.py --photos 40 --out out

The photos are written to OUT/photos with a transforms.json, the format of nerfstudio, instant-ngp and Blender.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from dreamfusion3d import photos_to_mesh, resolve_config, sample_orbit_cameras
from dreamfusion3d.cameras.capture import write_photos
from dreamfusion3d.core.config import RECONSTRUCTION_QUALITY_PRESETS
from dreamfusion3d.core.progress import default_progress
from dreamfusion3d.procedural.objects import default_spec, sample_objects_for_spec
from dreamfusion3d.procedural.posed_photos import render_photos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--category", default="pitcher", help="see `dreamfusion3d vocabulary`")
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--set", action="append", default=[], dest="sets")
    options = parser.parse_args()

    generator = torch.Generator().manual_seed(0)
    spec = default_spec(options.category)
    objects = sample_objects_for_spec(spec, 1, generator=generator)
    cameras = sample_orbit_cameras(options.photos, generator=generator, size=options.size)
    photos = render_photos(objects, 0, spec, cameras)
    write_photos(options.out / "photos", photos.rgba.numpy(), photos.cameras)

    config = resolve_config(
        "draft",
        sets=["reconstruction.num_eval_images=4", *options.sets],
        quality_presets=RECONSTRUCTION_QUALITY_PRESETS,
    )
    asset = photos_to_mesh(
        options.out / "photos", name=options.category, out=options.out, config=config, progress=default_progress()
    )
    assert asset.record.reconstruction is not None
    metrics = asset.record.reconstruction["held_out"]
    print(f"{asset.main_file}: PSNR {metrics['psnr']:.1f} dB on {metrics['photos']} held-out photos")


if __name__ == "__main__":
    main()
