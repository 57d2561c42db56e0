"""``text2mesh`` and ``dreamfusion3d generate``: a sentence in, the path of a GLB out."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dreamfusion3d.core.runtime import configure_process

from .options import resolve_options
from .report import run_app

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help='The object, for example "a red mug with one handle".')],
    out: Annotated[Path, typer.Option(help="Folder that receives one folder an asset.")] = Path("out"),
    seed: Annotated[int, typer.Option(help="Same seed, same machine: same bytes.")] = 0,
    quality: Annotated[str, typer.Option(help="draft, standard or high.")] = "standard",
    prior: Annotated[str | None, typer.Option(help="'embedded', a folder, a hub id, or a plug-in.")] = None,
    guidance: Annotated[
        str | None, typer.Option(help="How the prior teaches the field: sds, csd, vsd, ism, or an installed package's.")
    ] = None,
    negative: Annotated[str | None, typer.Option(help="What the object must not be.")] = None,
    formats: Annotated[
        str | None, typer.Option("--format", help="Some of glb, gltf, obj, ply, stl, 3mf, usdz, fbx; glb.")
    ] = None,
    faces: Annotated[int | None, typer.Option(help="Triangles at most; a quad is two.")] = None,
    texture_size: Annotated[int | None, typer.Option(help="Pixels along a side of the texture.")] = None,
    quads: Annotated[bool, typer.Option("--quads", help="Quads (in OBJ) instead of triangles.")] = False,
    lods: Annotated[int | None, typer.Option(help="Levels of detail, the mesh itself included.")] = None,
    collision: Annotated[str | None, typer.Option(help="Bodies for physics: none, hull or parts.")] = None,
    height: Annotated[float | None, typer.Option(help="Height of the asset in metres.")] = None,
    refine: Annotated[
        int | None, typer.Option(metavar="N", help="Steps that improve the colours on the finished mesh.")
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="Start from this mesh (GLB, OBJ, PLY, STL) or scan (PLY, PCD, XYZ, PTS).")
    ] = None,
    retexture: Annotated[
        Path | None, typer.Option(help="Keep this mesh (GLB, OBJ, PLY or STL) as it is and paint it.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    memory_budget: Annotated[
        str | None,
        typer.Option(metavar="AMOUNT", help="Memory to make do with, as 8GB; takes longer where it is little."),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="A known method's settings, as prolificdreamer.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One setting, as optim.steps=800; may be repeated."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, even if it is done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print asset.json and its folder as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress; warnings only.")] = False,
) -> None:
    """Make a textured 3D mesh from a sentence.

    Writes OUT/<slug>/ with the GLB, a thumbnail, a turntable and asset.json, and prints the
    GLB's path. Ctrl-C is safe: the same command goes on where it stopped.
    """
    if retexture is not None:
        _refuse_with_retexture(
            {"--init": init, "--refine": refine, "--faces": faces, "--height": height, "--quads": quads or None}
        )
    options = {
        "--prior": prior,
        "--negative": negative,
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
    from dreamfusion3d.memory import budget as amount

    budget = None if memory_budget is None else amount.parse_bytes(memory_budget)
    configure_process(retain_freed_memory=budget is None)
    from dreamfusion3d.core.progress import default_progress
    from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh

    # stdout carries the result alone, whatever a library prints
    with contextlib.redirect_stdout(sys.stderr):
        if retexture is not None:
            from dreamfusion3d.pipelines.retexture import retexture_mesh as paint_mesh

            asset = paint_mesh(
                prompt,
                retexture,
                out=out,
                seed=seed,
                config=settings,
                device=device,
                fresh=fresh,
                progress=default_progress(quiet),
                memory_budget=budget,
            )
        else:
            asset = text_to_mesh(
                prompt,
                out=out,
                seed=seed,
                config=settings,
                init=init,
                device=device,
                fresh=fresh,
                progress=default_progress(quiet),
                memory_budget=budget,
            )
    print(json.dumps({**asset.record, "folder": str(asset.folder)}) if as_json else asset.main_file)


def _refuse_with_retexture(options: dict[str, Any]) -> None:
    from dreamfusion3d.core.errors import InputError

    for name, value in options.items():
        if value is not None:
            raise InputError(f"{name} has no meaning with --retexture, which keeps the mesh as it is: leave one out")


def main() -> None:
    configure_process()
    sys.exit(run_app(app))
