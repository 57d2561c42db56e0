"""``text2mesh`` and ``dreamfusion3d generate``: a prompt in, the path of a GLB out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dreamfusion3d.core.runtime import configure_process

from .options import (
    ConfigFile,
    Device,
    Formats,
    Height,
    JsonOutput,
    MaxMemory,
    OutFolder,
    Preset,
    Quality,
    Quiet,
    Resume,
    RunSeed,
    Sets,
    TextureSize,
    parse_max_memory,
    resolve_options,
)
from .report import print_asset, run_app, stdout_to_stderr

if TYPE_CHECKING:
    from dreamfusion3d.core.config import Config
    from dreamfusion3d.core.progress import Progress

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help='The object, e.g. "a red mug with one handle".')],
    out: OutFolder = Path("out"),
    seed: RunSeed = 0,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", help="Draw the objects of N seeds, from --seed on, on one sheet.")
    ] = None,
    quality: Quality = "standard",
    prior: Annotated[
        str | None, typer.Option(help="'embedded', a folder, a hub id, or a plug-in.", show_default="embedded")
    ] = None,
    guidance: Annotated[
        str | None, typer.Option(help="Distillation loss: sds, csd, vsd, ism, or a plug-in.", show_default="sds")
    ] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What the object must not look like.")] = None,
    formats: Formats = None,
    faces: Annotated[int | None, typer.Option(help="Maximum number of triangles; a quad counts as two.")] = None,
    texture_size: TextureSize = None,
    quads: Annotated[bool, typer.Option("--quads", help="Remesh to quads (kept as quads in OBJ).")] = False,
    lods: Annotated[int | None, typer.Option(help="Levels of detail, including the mesh itself.")] = None,
    collision: Annotated[str | None, typer.Option(help="Collision mesh: none, hull or parts.")] = None,
    height: Height = None,
    refine: Annotated[
        int | None, typer.Option(metavar="N", help="Steps of texture refinement on the finished mesh.")
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="Start from this mesh (GLB, glTF, OBJ, PLY, STL) or scan (PLY, PCD, XYZ, PTS).")
    ] = None,
    retexture: Annotated[
        Path | None, typer.Option(help="Texture this mesh (GLB, glTF, OBJ, PLY, STL) and keep its shape.")
    ] = None,
    device: Device = "auto",
    max_memory: MaxMemory = None,
    preset: Preset = None,
    config: ConfigFile = None,
    sets: Sets = None,
    resume: Resume = True,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
) -> None:
    """Generate a textured 3D mesh from a text prompt.

    Writes the GLB, a thumbnail, a turntable and asset.json to OUT/<slug>/.
    Prints the path of the GLB.
    Press Ctrl-C at any time: the same command resumes the run.
    With --seeds, it only writes a picture to choose a seed from, in seconds, and prints its path.
    """
    changed: dict[str, Any] = {"--init": init, "--refine": refine}
    if seeds is not None:
        _refuse_with(
            "--seeds", changed | {"--retexture": retexture, "--json": as_json or None}, "which draws no assets"
        )
    if retexture is not None:
        changed |= {"--faces": faces, "--height": height, "--quads": quads or None}
        _refuse_with("--retexture", changed, "which keeps the mesh unchanged")
    options = {
        "--prior": prior,
        "--negative-prompt": negative_prompt,
        "--guidance": guidance,
        "--format": formats,
        "--faces": faces,
        "--texture-size": texture_size,
        "--height": height,
        "--lods": lods,
        "--collision": collision,
        "--refine": refine,
        "--quads": quads or None,
    }
    settings = resolve_options(options, quality, config, sets or (), preset=preset)
    memory_budget = parse_max_memory(max_memory)
    configure_process(retain_freed_memory=memory_budget is None)
    from dreamfusion3d.core.progress import default_progress
    from dreamfusion3d.pipelines.retexture import retexture_mesh
    from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh

    kwargs: dict[str, Any] = {
        "out": out,
        "seed": seed,
        "config": settings,
        "device": device,
        "resume": resume,
        "progress": default_progress(quiet),
        "memory_budget": memory_budget,
    }
    with stdout_to_stderr():
        if seeds is not None:
            sheet = _draw_seeds(prompt, seed, seeds, out, settings, device, kwargs["progress"])
        elif retexture is not None:
            asset = retexture_mesh(prompt, retexture, **kwargs)
        else:
            asset = text_to_mesh(prompt, init=init, **kwargs)
    if seeds is not None:
        print(sheet)
    else:
        print_asset(asset, as_json)


def _draw_seeds(
    prompt: str, first: int, count: int, out: Path, settings: Config, device: str, progress: Progress
) -> Path:
    from dreamfusion3d.core.errors import InputError
    from dreamfusion3d.pipelines.seed_sheet import MAX_SHEET_SEEDS, write_seed_sheet

    if not 1 <= count <= MAX_SHEET_SEEDS:
        raise InputError(f"--seeds {count} is not between 1 and {MAX_SHEET_SEEDS}")
    seeds = range(first, first + count)
    return write_seed_sheet(prompt, seeds, out=out, config=settings, device=device, progress=progress)


def _refuse_with(option: str, others: dict[str, Any], reason: str) -> None:
    from dreamfusion3d.core.errors import InputError

    for name, value in others.items():
        if value is not None:
            raise InputError(f"{name} cannot be combined with {option}, {reason}")


def main() -> None:
    """Run ``text2mesh`` and exit."""
    configure_process()
    sys.exit(run_app(app))
