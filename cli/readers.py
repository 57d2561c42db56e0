"""``train-words`` and ``train-judge``: the two small networks beside the prior."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def train_text_encoder(
    out: Annotated[Path, typer.Argument(help="Folder that receives the weights: a prior's words/.")],
    steps: Annotated[int, typer.Option(help="Steps of 144 sentences.", min=1)] = 3000,
    seed: Annotated[int, typer.Option(help="Of the weights and the sentences.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress; warnings only.")] = False,
) -> None:
    """Train the network that reads prompts where the rules know a word not; prints how well it reads."""
    import torch

    from dreamfusion3d.core.progress import default_progress
    from dreamfusion3d.pipelines.workspace import check_free_space, translate_folder_errors
    from dreamfusion3d.priors.pixel import train_text_encoder as school

    progress = default_progress(quiet)
    check_free_space(out)
    progress.stage("words", 1, 1)
    with translate_folder_errors(out):
        model = school.new_text_encoder(seed)
        generator = torch.Generator().manual_seed(seed)
        for step in school.train_prompt_text_encoder(model, steps=steps, generator=generator):
            progress.step(step.index, step.total, f"loss {step.loss:.3f}")
        model.save(out)
        figures = school.evaluate_text_encoder(model, count=2000, generator=torch.Generator().manual_seed(seed + 1))
    progress.close()
    print(json.dumps(figures, indent=2))


def train_clip(
    out: Annotated[Path, typer.Argument(help="Folder that receives the weights.")],
    steps: Annotated[int, typer.Option(help="Steps of 192 pictures.", min=1)] = 3000,
    props: Annotated[int, typer.Option(help="Props to draw for the cache, six views each.", min=1)] = 4000,
    cache: Annotated[Path, typer.Option(help="Folder of drawn pictures; drawn once.")] = Path(".cache/props"),
    seed: Annotated[int, typer.Option(help="Of the weights and the pictures' order.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress; warnings only.")] = False,
) -> None:
    """Train the image-text encoder that `evaluate` judges with; prints OUT."""
    import torch

    from dreamfusion3d.core.progress import default_progress
    from dreamfusion3d.pipelines.workspace import check_free_space, translate_folder_errors
    from dreamfusion3d.priors.image_text import train as school
    from dreamfusion3d.priors.pixel.train_command import load_or_render_dataset

    progress = default_progress(quiet)
    check_free_space(out)
    with translate_folder_errors(out):
        data = load_or_render_dataset(cache, props, seed, progress)
        progress.stage("judge", 2, 2)
        net = school.new_embedded_clip(seed)
        generator = torch.Generator().manual_seed(seed)
        for step, loss, accuracy in school.train_embedded_clip(net, data, steps=steps, generator=generator):
            progress.step(step, steps, f"loss {loss:.3f}, {accuracy:.0%} of a batch found")
        net.save(out)
    progress.close()
    print(out)
