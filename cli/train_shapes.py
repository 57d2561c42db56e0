"""``dreamfusion3d train-shapes``: train the networks that give the shapes of single objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import Quiet


def train_shapes(
    out: Annotated[Path, typer.Argument(help="Output folder: the shapes/ subfolder of a prior.")],
    categories: Annotated[str, typer.Option(help="Categories, separated by commas; all by default.")] = "",
    steps: Annotated[int, typer.Option(help="Training steps of each category.", min=1)] = 1500,
    seed: Annotated[int, typer.Option(help="Seed for the weights and the objects.")] = 0,
    threads: Annotated[int, typer.Option(help="Threads of each step; processes may share the work.", min=0)] = 0,
    quiet: Quiet = False,
) -> None:
    """Train one network per category; finished ones are kept. Prints the accuracy of each as JSON."""
    import torch

    from dreamfusion3d.core.errors import InputError
    from dreamfusion3d.core.folders import check_free_space, translate_folder_errors
    from dreamfusion3d.core.progress import default_progress
    from dreamfusion3d.priors.shapes import train
    from dreamfusion3d.priors.shapes.network import ShapeNetwork
    from dreamfusion3d.priors.weights import load_network, save_network
    from dreamfusion3d.procedural.categories import CATEGORIES, format_category_names

    names = [name.strip() for name in categories.split(",") if name.strip()] or list(CATEGORIES)
    if unknown := [name for name in names if name not in CATEGORIES]:
        raise InputError(f"there is no category {unknown[0]!r}; use some of: {format_category_names()}")
    if threads:
        torch.set_num_threads(threads)
    progress, records = default_progress(quiet), {}
    check_free_space(out)
    with translate_folder_errors(out):
        for i, name in enumerate(names):
            progress.stage(name, i + 1, len(names))
            path = out / f"{name}.safetensors"
            network = train.new_network(name, seed)
            if path.exists():
                finished, records[name] = load_network(ShapeNetwork, path, "train-shapes")
                if finished.config == network.config and records[name]["steps"] >= steps:
                    continue
            for step, loss in enumerate(train.train_network(network, name, steps, seed), 1):
                progress.step(step, steps, f"loss {loss:.4f}")
            records[name] = {"steps": steps, "seed": seed, **train.evaluate_network(network, name)}
            save_network(network, path, records[name])
    progress.close()
    print(json.dumps(records, indent=2))
