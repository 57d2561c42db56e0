"""``dreamfusion3d fit``: photos with known cameras in, the path of a GLB out."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from .options import resolve_options


def reconstruct(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Photos and their transforms.json (nerfstudio, instant-ngp, Blender)."),
    ],
    out: Annotated[Path, typer.Option(help="Folder that receives one folder an asset.")] = Path("out"),
    name: Annotated[str | None, typer.Option(help="Of the asset; FOLDER's without it.")] = None,
    text: Annotated[
        str | None, typer.Option(metavar="PROMPT", help="What the photos show: the prior teaches what they leave open.")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Image encoder that compares unseen views with the photos (DietNeRF): none, embedded or clip."
        ),
    ] = None,
    encoder: Annotated[str | None, typer.Option(help="Of --teacher clip: folder or hub id.")] = None,
    holdout: Annotated[
        int | None, typer.Option(metavar="N", help="Photos that are not fitted; PSNR and SSIM are taken on them.")
    ] = None,
    up: Annotated[str | None, typer.Option(help="The file's upward axis: z or y.")] = None,
    scale: Annotated[float | None, typer.Option(help="Scene units in a unit of the file.")] = None,
    offset: Annotated[
        str | None, typer.Option(metavar="X,Y,Z", help="Added after turning and scaling; with --scale.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same machine: same bytes.")] = 0,
    quality: Annotated[str, typer.Option(help="draft, standard or high.")] = "standard",
    prior: Annotated[str | None, typer.Option(help="Whom --text asks: as text2mesh has it.")] = None,
    formats: Annotated[
        str | None, typer.Option("--format", help="Some of glb, gltf, obj, ply, stl, 3mf, usdz, fbx; glb.")
    ] = None,
    faces: Annotated[int | None, typer.Option(help="Triangles at most.")] = None,
    texture_size: Annotated[int | None, typer.Option(help="Pixels along a side of the texture.")] = None,
    height: Annotated[float | None, typer.Option(help="Height of the asset in metres.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One setting, as optim.steps=800; may be repeated."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, even if it is done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print asset.json and its folder as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress; warnings only.")] = False,
) -> None:
    """Make a textured 3D mesh from photos whose cameras are known (NeRF), many or few.

    Writes OUT/<slug>/ as text2mesh does, and prints the GLB's path. Ctrl-C is safe: the same
    command goes on where it stopped.
    """
    from dreamfusion3d.core.config import RECONSTRUCTION_QUALITY_PRESETS

    options = {
        "--teacher": teacher,
        "--encoder": encoder,
        "--holdout": holdout,
        "--up": up,
        "--scale": scale,
        "--offset": offset,
        "--prior": prior,
        "--format": formats,
        "--faces": faces,
        "--texture-size": texture_size,
        "--height": height,
    }
    settings = resolve_options(options, quality, config, sets or (), quality_presets=RECONSTRUCTION_QUALITY_PRESETS)
    from dreamfusion3d.core.progress import default_progress
    from dreamfusion3d.pipelines.photos_to_mesh import photos_to_mesh

    # stdout carries the result alone, whatever a library prints
    with contextlib.redirect_stdout(sys.stderr):
        asset = photos_to_mesh(
            folder,
            name=name,
            prompt=text,
            out=out,
            seed=seed,
            config=settings,
            device=device,
            fresh=fresh,
            progress=default_progress(quiet),
        )
    print(json.dumps({**asset.record, "folder": str(asset.folder)}) if as_json else asset.main_file)
