"""``dreamfusion3d train-text-encoder``: train the network that parses prompts beyond the rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import Quiet


def train_text_encoder(
    out: Annotated[Path, typer.Argument(help="Output folder: the words/ subfolder of a prior.")],
    steps: Annotated[int, typer.Option(help="Training steps of 144 sentences.", min=1)] = 3000,
    seed: Annotated[int, typer.Option(help="Seed for the weights and the sentences.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Train the network that parses misspelled and unknown words in prompts; prints its accuracy as JSON."""
    import torch

    from dreamfusion3d.core.folders import check_free_space, translate_folder_errors
    from dreamfusion3d.core.progress import default_progress
    from dreamfusion3d.priors.pixel import train_text_encoder as training

    progress = default_progress(quiet)
    check_free_space(out)
    progress.stage("text encoder", 1, 1)
    with translate_folder_errors(out):
        model = training.new_text_encoder(seed)
        generator = torch.Generator().manual_seed(seed)
        for step in training.train_prompt_text_encoder(model, steps=steps, generator=generator):
            progress.step(step.index, step.total, f"loss {step.loss:.3f}")
        model.save(out)
        metrics = training.evaluate_text_encoder(model, count=2000, generator=torch.Generator().manual_seed(seed + 1))
    progress.close()
    print(json.dumps(metrics, indent=2))
