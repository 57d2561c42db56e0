"""``dreamfusion3d train-prior``: train the pixel prior or continue its training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from .options import Device, ImageCache, MaxMemory, NumObjects, Quiet, parse_max_memory


def train_prior(
    out: Annotated[Path, typer.Argument(help="Output folder for the weights; pass it to --prior.")],
    num_images: Annotated[int, typer.Option(help="Images to train on in this run.", min=24)] = 300_000,
    minutes: Annotated[
        float,
        typer.Option(help="Time limit; the learning rate decays in time for it.", min=0.1, show_default="no limit"),
    ] = math.inf,
    num_objects: NumObjects = 4_000,
    cache: ImageCache = Path(".cache/props"),
    image_folder: Annotated[
        Path | None, typer.Option(help="Your own images with a metadata.jsonl, instead of procedural objects.")
    ] = None,
    assets_from: Annotated[
        Path | None, typer.Option(help="Your own meshes with a metadata.jsonl, each learned by a network of its own.")
    ] = None,
    asset_steps: Annotated[int, typer.Option(help="Training steps of each mesh.", min=1)] = 1000,
    init_from: Annotated[
        str, typer.Option(help="'embedded' or a folder to start from; 'scratch' for random weights.")
    ] = "embedded",
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="Seed for image order, background colors and noise.")] = 0,
    save_minutes: Annotated[float, typer.Option(help="Minutes between checkpoints and sample grids.")] = 5.0,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Compile the network on CUDA.")] = True,
    max_memory: MaxMemory = None,
    quiet: Quiet = False,
) -> None:
    """Train the prior on images of procedural objects, on your own images or on your own meshes.

    Images: writes a diffusers folder with the averaged weights in half precision.
    Also writes a checkpoint, from which the same command resumes, log.jsonl and samples.png.
    Meshes: adds them to the prior of --init-from; the same command resumes.
    Prints OUT.
    """
    from dreamfusion3d.core.backends import choose_device
    from dreamfusion3d.core.errors import InputError
    from dreamfusion3d.core.folders import check_free_space, translate_folder_errors
    from dreamfusion3d.core.progress import default_progress
    from dreamfusion3d.priors.assets.train_command import train_asset_folder
    from dreamfusion3d.priors.pixel.train_command import train_prior_folder

    if assets_from is not None:
        if image_folder is not None:
            raise InputError("--assets-from and --image-folder train different networks; use one, then the other")
        check_free_space(out)
        with translate_folder_errors(out):
            train_asset_folder(
                out, assets_from, init_from=init_from, steps=asset_steps, seed=seed, progress=default_progress(quiet)
            )
        print(out)
        return
    memory_budget = parse_max_memory(max_memory)
    torch_device = choose_device(device)
    check_free_space(out)
    with translate_folder_errors(out):
        train_prior_folder(
            out,
            cache_dir=cache,
            num_images=num_images,
            num_objects=num_objects,
            init_from=init_from,
            device=torch_device,
            seed=seed,
            save_minutes=save_minutes,
            progress=default_progress(quiet),
            compiled=compiled,
            image_folder=image_folder,
            max_minutes=minutes,
            memory_budget=memory_budget,
        )
    print(out)
