"""Options shared by several commands, and how options map to settings and back in error messages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dreamfusion3d.core.config import Config

FORMATS_HELP = "Comma-separated: glb, gltf, obj, ply, stl, 3mf, usdz, fbx."

OutFolder = Annotated[Path, typer.Option(help="Output folder; each asset gets its own subfolder.")]
AssetFolder = Annotated[Path, typer.Argument(help="Folder of a finished asset: OUT/<slug>.")]
PixelPriorName = Annotated[str, typer.Option(help="'embedded' or a folder written by train-prior.")]
Quality = Annotated[str, typer.Option(help="instant, draft, standard or high.")]
RunSeed = Annotated[int, typer.Option(help="Same seed, same machine: same bytes.")]
Formats = Annotated[str | None, typer.Option("--format", help=FORMATS_HELP, show_default="glb")]
TextureSize = Annotated[int | None, typer.Option(help="Texture size in pixels.")]
Height = Annotated[
    float | None, typer.Option(help="Height of the asset in meters.", show_default="by the prompt, else 1")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
MaxMemory = Annotated[str | None, typer.Option(metavar="SIZE", help="Memory limit, e.g. 8GB (slower when tight).")]
Preset = Annotated[str | None, typer.Option(help="Settings of a published method, e.g. prolificdreamer.")]
ConfigFile = Annotated[Path | None, typer.Option(help="YAML file of settings.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. optim.steps=800; repeatable."),
]
Resume = Annotated[
    bool, typer.Option(" /--no-resume", help="Start over, even if the asset is finished.", show_default=False)
]
JsonOutput = Annotated[bool, typer.Option("--json", help="Print asset.json and its folder as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print warnings only.")]
Port = Annotated[int, typer.Option(help="Port on localhost; 0 picks a free one.")]
Browser = Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")]
NumObjects = Annotated[int, typer.Option(help="Objects to render into the cache, six views each.", min=1)]
ImageCache = Annotated[Path, typer.Option(help="Cache folder for the rendered images; rendered once.")]

OPTION_SETTINGS = {
    "--prior": "prior.name",
    "--negative-prompt": "prompts.negative",
    "--guidance": "guidance.type",
    "--format": "mesh.formats",
    "--faces": "mesh.max_faces",
    "--texture-size": "mesh.texture_size",
    "--quads": "mesh.quads",
    "--lods": "mesh.num_lods",
    "--collision": "mesh.collision",
    "--height": "mesh.height_m",
    "--refine": "mesh.refine_steps",
    "--semantic-encoder": "reconstruction.semantic_encoder",
    "--clip-model": "reconstruction.clip_model",
    "--eval-images": "reconstruction.num_eval_images",
    "--up": "reconstruction.up",
    "--scale": "reconstruction.scale",
    "--offset": "reconstruction.offset",
}


def resolve_options(
    options: Mapping[str, Any], quality: str, file: Path | None = None, sets: Sequence[str] = (), **kwargs: Any
) -> Config:
    """Resolve the settings of a run; ``options`` (name to value, None if not given) take precedence."""
    from dreamfusion3d.core.config import resolve_config

    overrides = {OPTION_SETTINGS[name].replace(".", "__"): value for name, value in options.items()}
    with name_options_in_errors(options):
        return resolve_config(quality, file, sets, **kwargs, **overrides)


@contextlib.contextmanager
def name_options_in_errors(options: Mapping[str, Any]) -> Iterator[None]:
    """Report an error in a setting under the name of the option that set it."""
    from dreamfusion3d.core.errors import SettingError

    try:
        yield
    except SettingError as error:
        for name, value in options.items():
            # an option overrides every other source of its setting
            if value is not None and OPTION_SETTINGS[name] == error.key:
                raise error.with_key(name) from None
        raise


def parse_max_memory(text: str | None) -> int | None:
    """Parse the value of ``--max-memory`` into bytes."""
    from dreamfusion3d.memory.budget import parse_bytes

    return None if text is None else parse_bytes(text)


def validate_port(port: int) -> None:
    """Raise InputError unless ``port`` is a port number."""
    from dreamfusion3d.core.errors import InputError

    if not 0 <= port < 65536:
        raise InputError(f"--port {port} is not between 0 and 65535")
