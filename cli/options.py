"""Options that stand for a setting: how they get into a configuration, and back into its errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dreamfusion3d.core.config import Config

SETTINGS = {
    "--prior": "prior.name", "--negative": "prompts.negative", "--guidance": "guidance.kind",
    "--format": "mesh.formats", "--faces": "mesh.faces", "--texture-size": "mesh.texture_size",
    "--quads": "mesh.quads", "--lods": "mesh.lods", "--collision": "mesh.collision",
    "--height": "mesh.height", "--refine": "mesh.refine_steps", "--teacher": "fit.teacher",
    "--encoder": "fit.encoder", "--holdout": "fit.holdout", "--up": "fit.up", "--scale": "fit.scale",
    "--offset": "fit.offset",
}


def resolved(
    options: Mapping[str, Any], quality: str, file: Path | None = None, sets: Sequence[str] = (),
    **more: Any,
) -> Config:
    """`config.resolve`, ``options`` (their names and values, None where not given) over all else."""
    from dreamfusion3d.core.config import resolve

    overrides = {SETTINGS[name].replace(".", "__"): value for name, value in options.items()}
    with named(options):
        return resolve(quality, file, sets, **more, **overrides)


@contextlib.contextmanager
def named(options: Mapping[str, Any]) -> Iterator[None]:
    """An error about a setting that one of ``options`` has set speaks of the option: that was typed."""
    from dreamfusion3d.core.errors import SettingError

    try:
        yield
    except SettingError as error:
        for name, value in options.items():
            # an option wins over every other place that may name its setting
            if value is not None and SETTINGS[name] == error.key:
                raise error.about(name) from None
        raise
