"""Photos with known cameras to a GLB: what `dreamfusion3d fit` does, on photos that this script takes.

    python examples/03_photos_to_glb.py --photos 40 --out out

The photos go to OUT/photos with their transforms.json, in the format of nerfstudio, instant-ngp and Blender.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from dreamfusion3d.cameras.capture import write_photos
from dreamfusion3d.cameras.orbit import sample_orbit_cameras
from dreamfusion3d.core.config import RECONSTRUCTION_QUALITY_PRESETS, resolve_config
from dreamfusion3d.core.progress import default_progress
from dreamfusion3d.pipelines.photos_to_mesh import photos_to_mesh
from dreamfusion3d.procedural.objects import default_spec, sample_objects_for_spec
from dreamfusion3d.procedural.posed_photos import render_photos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kind", default="pitcher", help="one of `dreamfusion3d kinds`")
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--set", action="append", default=[], dest="sets")
    options = parser.parse_args()

    generator = torch.Generator().manual_seed(0)
    meaning = default_spec(options.kind)
    props = sample_objects_for_spec(meaning, 1, generator=generator)
    cameras = sample_orbit_cameras(options.photos, generator=generator, size=options.size)
    photos = render_photos(props, 0, meaning, cameras)
    write_photos(options.out / "photos", photos.rgba.numpy(), photos.cameras)

    config = resolve_config(
        "draft",
        sets=["reconstruction.num_eval_images=4", *options.sets],
        quality_presets=RECONSTRUCTION_QUALITY_PRESETS,
    )
    asset = photos_to_mesh(
        options.out / "photos", name=options.kind, out=options.out, config=config, progress=default_progress()
    )
    held = asset.record["fit"]["held_out"]
    print(f"{asset.main_file}: PSNR {held['psnr']:.1f} dB on {held['photos']} photos that it was not fitted to")


if __name__ == "__main__":
    main()
