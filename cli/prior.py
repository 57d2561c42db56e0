"""``sample``, ``train-prior`` and ``kinds``: the prior's own commands."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer


def sample(
    prompt: Annotated[str, typer.Argument(help='For example "a red mug".')],
    views: Annotated[int, typer.Option(help="Pictures, evenly around the object.", min=1, max=64)] = 8,
    out: Annotated[Path, typer.Option(help="The PNG to write, or the MP4 with --to.")] = Path("grid.png"),
    prior: Annotated[str, typer.Option(help="'embedded' or a folder that train-prior wrote.")] = "embedded",
    steps: Annotated[int, typer.Option(help="Denoising steps.", min=1, max=1000)] = 30,
    scale: Annotated[float, typer.Option(help="Guidance: 1 is the plain conditional.", min=0.0)] = 2.0,
    strip: Annotated[
        bool, typer.Option("--strip", help="A row a view: how the prediction clears up, step by step.")
    ] = False,
    to: Annotated[str | None, typer.Option(help="A second prompt: a video from one to the other and back.")] = None,
    frames: Annotated[int, typer.Option(help="Of the video.", min=2, max=240)] = 24,
    seed: Annotated[int, typer.Option(help="Same seed, same machine: same picture.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress; warnings only.")] = False,
) -> None:
    """Draw pictures from the prior: a grid over views, a denoising strip, or a video between prompts."""
    from dreamfusion3d.core.errors import InputError
    from dreamfusion3d.core.progress import default_progress
    from dreamfusion3d.core.slug import check_prompt
    from dreamfusion3d.pipelines.workspace import check_free_space, translate_folder_errors
    from dreamfusion3d.priors.loading import load_pixel_prior
    from dreamfusion3d.priors.sampling import sample_grid_png, sample_morph_mp4

    progress = default_progress(quiet)
    prompts = [check_prompt(p) for p in ([prompt] if to is None else [prompt, to])]
    expected_suffix = ".png" if to is None else ".mp4"
    if out.suffix.lower() != expected_suffix:
        description = "a PNG; for example grid.png" if to is None else "an MP4; for example --out morph.mp4"
        raise InputError(f"--out {out} is not the name of {description}")
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


def train_prior(
    out: Annotated[Path, typer.Argument(help="Folder that receives the weights; --prior takes it.")],
    pictures: Annotated[int, typer.Option(help="Pictures to show in this run.", min=24)] = 300_000,
    minutes: Annotated[
        float,
        typer.Option(
            help="Train no longer than this; the rates fall in time for it.", min=0.1, show_default="no limit"
        ),
    ] = math.inf,
    props: Annotated[int, typer.Option(help="Props to draw for the cache, six views each.", min=1)] = 4_000,
    cache: Annotated[Path, typer.Option(help="Folder of drawn pictures; drawn once.")] = Path(".cache/props"),
    pictures_from: Annotated[
        Path | None, typer.Option(help="Folder of your own pictures with a metadata.jsonl, in place of the props.")
    ] = None,
    start: Annotated[
        str, typer.Option(help="'embedded' or a folder to continue from, 'scratch' to begin anew.")
    ] = "embedded",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of the pictures' order, their colours and the noise.")] = 0,
    save_minutes: Annotated[float, typer.Option(help="Between checkpoints, weights and sample grids.")] = 5.0,
    compiled: Annotated[
        bool, typer.Option("--compile/--no-compile", help="On CUDA, compile the network first.")
    ] = True,
    memory_budget: Annotated[
        str | None,
        typer.Option(metavar="AMOUNT", help="Memory to make do with, as 8GB; takes longer where it is little."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress; warnings only.")] = False,
) -> None:
    """Train the prior on pictures of procedural props or of your own, or train it further.

    Writes a diffusers folder with the averaged weights in half precision, a checkpoint that the
    same command takes up, log.jsonl, and samples.png to look at.
    """
    from dreamfusion3d.core.backends import choose_device
    from dreamfusion3d.core.progress import default_progress
    from dreamfusion3d.memory import budget as amount
    from dreamfusion3d.pipelines.workspace import check_free_space, translate_folder_errors
    from dreamfusion3d.priors.pixel.train_command import train_prior_folder

    budget = None if memory_budget is None else amount.parse_bytes(memory_budget)
    torch_device = choose_device(device)
    check_free_space(out)
    with translate_folder_errors(out):
        train_prior_folder(
            out,
            cache_dir=cache,
            num_images=pictures,
            num_objects=props,
            init_from=start,
            device=torch_device,
            seed=seed,
            save_minutes=save_minutes,
            progress=default_progress(quiet),
            compiled=compiled,
            image_folder=pictures_from,
            max_minutes=minutes,
            memory_budget=budget,
        )
    print(out)


def vocabulary(
    prior: Annotated[str, typer.Option(help="'embedded' or a folder that train-prior wrote.")] = "embedded",
    picture: Annotated[Path | None, typer.Option(help="A PNG to draw the kinds into.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also the kinds that the evaluation found it weak at.")
    ] = False,
) -> None:
    """List the kinds of props, colours and words that a prior knows, or draw the kinds."""
    from dreamfusion3d.priors.vocabulary import (
        load_vocabulary,
        prior_folder,
        read_weak_categories,
        vocabulary_categories,
        vocabulary_words,
    )
    from dreamfusion3d.procedural.categories import CATEGORIES
    from dreamfusion3d.procedural.lexicon import MATERIAL_WORDS, SIZE_WORDS
    from dreamfusion3d.procedural.objects import COLORS

    tokens = load_vocabulary(prior)
    words = vocabulary_words(tokens)
    names = sorted(
        set(vocabulary_categories(tokens)) - set([] if everything else read_weak_categories(prior_folder(prior)))
    )
    if picture is not None:
        _draw_categories(names, picture)
    for category in (CATEGORIES[name] for name in names):
        also = f" (or {', '.join(category.synonyms)})" if category.synonyms else ""
        parts = [f"{category.name}{also}", f"a part with a colour of its own: {category.second_part_words[0]}"]
        counts = [c for c in sorted(category.counts) if f"{category.name}:count:{c}" in tokens]
        if len(counts) > 1:
            parts.append(f"{category.counted_words[1]}: {', '.join(map(str, counts))}")
        if f"{category.name}:option" in tokens:
            parts.append(f"with or without {category.option_words[0]}")
        if materials := [f for f in category.materials if f"finish:{f}" in tokens]:
            parts.append(f"finishes: {', '.join(materials)}")
        print("; ".join(parts))
    if words:
        print(f"words of its own pictures: {', '.join(words)}")
        if not names:
            return
    colors = [color for color in COLORS if f"colour:{color}" in tokens]
    print(f"colours: {', '.join(colors)}")
    print(f"sizes: {', '.join(word for word, size in SIZE_WORDS.items() if f'size:{size}' in tokens)}")
    materials = [word for word, material in MATERIAL_WORDS.items() if f"finish:{material}" in tokens]
    if materials:
        print(f"finishes: {', '.join(materials)}")


def _draw_categories(names: list[str], path: Path) -> None:
    """The usual form of each, as the procedural world draws it."""
    import imageio.v3 as iio

    from dreamfusion3d.core.errors import InputError
    from dreamfusion3d.core.files import atomic_write
    from dreamfusion3d.pipelines.workspace import check_free_space, translate_folder_errors
    from dreamfusion3d.procedural.catalog import render_catalog
    from dreamfusion3d.procedural.objects import default_spec

    if path.suffix.lower() != ".png":
        raise InputError(f"--picture {path} is not the name of a PNG; for example kinds.png")
    check_free_space(path.parent)
    with translate_folder_errors(path.parent), atomic_write(path) as temporary:
        iio.imwrite(temporary, render_catalog([default_spec(name) for name in names]))
