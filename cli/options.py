"""Options that stand for a setting: how they get into a configuration, and back into its errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dreamfusion3d.core.config import Config

OPTION_SETTINGS = {
    "--prior": "prior.name",
    "--negative": "prompts.negative",
    "--guidance": "guidance.type",
    "--format": "mesh.formats",
    "--faces": "mesh.max_faces",
    "--texture-size": "mesh.texture_size",
    "--quads": "mesh.quads",
    "--lods": "mesh.num_lods",
    "--collision": "mesh.collision",
    "--height": "mesh.height_m",
    "--refine": "mesh.refine_steps",
    "--teacher": "reconstruction.semantic_encoder",
    "--encoder": "reconstruction.clip_model",
    "--holdout": "reconstruction.num_eval_images",
    "--up": "reconstruction.up",
    "--scale": "reconstruction.scale",
    "--offset": "reconstruction.offset",
}


def resolve_options(
    options: Mapping[str, Any], quality: str, file: Path | None = None, sets: Sequence[str] = (), **more: Any
) -> Config:
    """`config.resolve`, ``options`` (their names and values, None where not given) over all else."""
    from dreamfusion3d.core.config import resolve_config

    overrides = {OPTION_SETTINGS[name].replace(".", "__"): value for name, value in options.items()}
    with name_options_in_errors(options):
        return resolve_config(quality, file, sets, **more, **overrides)


@contextlib.contextmanager
def name_options_in_errors(options: Mapping[str, Any]) -> Iterator[None]:
    """An error about a setting that one of ``options`` has set speaks of the option: that was typed."""
    from dreamfusion3d.core.errors import SettingError

    try:
        yield
    except SettingError as error:
        for name, value in options.items():
            # an option wins over every other place that may name its setting
            if value is not None and OPTION_SETTINGS[name] == error.key:
                raise error.with_key(name) from None
        raise
