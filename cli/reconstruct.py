"""``dreamfusion3d reconstruct``: photos with known cameras in, the path of a GLB out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    ConfigFile,
    Device,
    Formats,
    Height,
    JsonOutput,
    OutFolder,
    Quiet,
    Resume,
    RunSeed,
    Sets,
    TextureSize,
    resolve_options,
)
from .report import print_asset, stdout_to_stderr


def reconstruct(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Photos and their transforms.json (nerfstudio, instant-ngp, Blender)."),
    ],
    out: OutFolder = Path("out"),
    name: Annotated[str | None, typer.Option(help="Asset name.", show_default="FOLDER's name")] = None,
    prompt: Annotated[
        str | None, typer.Option(help="What the photos show; the prior then supervises unseen views.")
    ] = None,
    semantic_encoder: Annotated[
        str | None,
        typer.Option(
            help="Image encoder that compares unseen views with the photos (DietNeRF): none, embedded or clip.",
            show_default="none",
        ),
    ] = None,
    clip_model: Annotated[
        str | None, typer.Option(help="Folder or hub id of the model for --semantic-encoder clip.")
    ] = None,
    eval_images: Annotated[int | None, typer.Option(metavar="N", help="Photos to hold out for PSNR and SSIM.")] = None,
    up: Annotated[str | None, typer.Option(help="Up axis of the camera file: z or y.", show_default="z")] = None,
    scale: Annotated[float | None, typer.Option(help="Scene units per unit of the camera file.")] = None,
    offset: Annotated[
        str | None, typer.Option(metavar="X,Y,Z", help="Translation after rotation and scaling; requires --scale.")
    ] = None,
    seed: RunSeed = 0,
    quality: Annotated[str, typer.Option(help="draft, standard or high.")] = "standard",
    prior: Annotated[str | None, typer.Option(help="Prior for --prompt; see text2mesh --prior.")] = None,
    formats: Formats = None,
    faces: Annotated[int | None, typer.Option(help="Maximum number of triangles.")] = None,
    texture_size: TextureSize = None,
    height: Height = None,
    device: Device = "auto",
    config: ConfigFile = None,
    sets: Sets = None,
    resume: Resume = True,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
) -> None:
    """Reconstruct a textured 3D mesh from photos with known cameras (NeRF).

    Writes the same files as text2mesh to OUT/<slug>/.
    Prints the path of the GLB.
    Press Ctrl-C at any time: the same command resumes the run.
    """
    from dreamfusion3d.core.config import RECONSTRUCTION_QUALITY_PRESETS

    options = {
        "--semantic-encoder": semantic_encoder,
        "--clip-model": clip_model,
        "--eval-images": eval_images,
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

    with stdout_to_stderr():
        asset = photos_to_mesh(
            folder,
            name=name,
            prompt=prompt,
            out=out,
            seed=seed,
            config=settings,
            device=device,
            resume=resume,
            progress=default_progress(quiet),
        )
    print_asset(asset, as_json)
