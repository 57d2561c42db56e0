"""``dreamfusion3d train-clip``: train the embedded image-text encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import ImageCache, NumObjects, Quiet


def train_clip(
    out: Annotated[Path, typer.Argument(help="Output folder for the weights.")],
    steps: Annotated[int, typer.Option(help="Training steps of 192 images.", min=1)] = 3000,
    num_objects: NumObjects = 4000,
    cache: ImageCache = Path(".cache/props"),
    seed: Annotated[int, typer.Option(help="Seed for the weights and the image order.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Train the image-text encoder behind `evaluate --encoder embedded`; prints OUT."""
    import torch

    from dreamfusion3d.core.folders import check_free_space, translate_folder_errors
    from dreamfusion3d.core.progress import default_progress
    from dreamfusion3d.priors.image_text import train as training
    from dreamfusion3d.priors.pixel.train_command import load_or_render_dataset

    progress = default_progress(quiet)
    check_free_space(out)
    with translate_folder_errors(out):
        data = load_or_render_dataset(cache, num_objects, seed, progress)
        progress.stage("train", 2, 2)
        net = training.new_embedded_clip(seed)
        generator = torch.Generator().manual_seed(seed)
        for step, loss, accuracy in training.train_embedded_clip(net, data, steps=steps, generator=generator):
            progress.step(step, steps, f"loss {loss:.3f}, batch accuracy {accuracy:.0%}")
        net.save(out)
    progress.close()
    print(out)
