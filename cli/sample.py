"""``dreamfusion3d sample``: sample images from the prior."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import PixelPriorName, Quiet


def sample(
    prompt: Annotated[str, typer.Argument(help='For example "a red mug".')],
    views: Annotated[int, typer.Option(help="Number of views, evenly spaced around the object.", min=1, max=64)] = 8,
    out: Annotated[Path, typer.Option(help="Output PNG; an MP4 with --to.")] = Path("grid.png"),
    prior: PixelPriorName = "embedded",
    steps: Annotated[int, typer.Option(help="Denoising steps.", min=1, max=1000)] = 30,
    scale: Annotated[float, typer.Option(help="Guidance scale; 1 disables guidance.", min=0.0)] = 2.0,
    strip: Annotated[
        bool, typer.Option("--strip", help="One row per view: the predicted image at every denoising step.")
    ] = False,
    to: Annotated[str | None, typer.Option(help="Second prompt: render a video that morphs there and back.")] = None,
    frames: Annotated[int, typer.Option(help="Frames of the video.", min=2, max=240)] = 24,
    seed: Annotated[int, typer.Option(help="Same seed, same machine: same image.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Sample images from the prior: a grid of views, a denoising strip, or a morph between two prompts.

    Prints the path of the image or video.
    """
    from dreamfusion3d.core.errors import InputError
    from dreamfusion3d.core.folders import check_free_space, translate_folder_errors
    from dreamfusion3d.core.progress import default_progress
    from dreamfusion3d.core.slug import check_prompt
    from dreamfusion3d.priors.loading import load_pixel_prior
    from dreamfusion3d.priors.sampling import sample_grid_png, sample_morph_mp4

    progress = default_progress(quiet)
    prompts = [check_prompt(p) for p in ([prompt] if to is None else [prompt, to])]
    if to is None and out.suffix.lower() != ".png":
        raise InputError(f"--out {out} must be a PNG, e.g. grid.png")
    if to is not None and out.suffix.lower() != ".mp4":
        raise InputError(f"--out {out} must be an MP4 with --to, e.g. --out morph.mp4")
    check_free_space(out.parent)
    model = load_pixel_prior(prior)
    for warning in dict.fromkeys(w for p in prompts for w in model.check_prompt(p)):
        progress.warn(warning)
    progress.stage("sample", 1, 1)
    if to is None:
        run = sample_grid_png(model, prompts[0], out, views=views, steps=steps, scale=scale, seed=seed, strip=strip)
    else:
        run = sample_morph_mp4(model, (prompts[0], prompts[1]), out, frames=frames, steps=steps, scale=scale, seed=seed)
    with translate_folder_errors(out.parent):
        for step, total in run:
            progress.step(step, total)
    progress.close()
    print(out)
