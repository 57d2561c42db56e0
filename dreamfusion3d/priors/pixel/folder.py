"""The folder of a pixel prior: which files it has, and what to say of damaged ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.vocabulary import embedded_folder, has_image_model

WEIGHT_FILES = ("unet/diffusion_pytorch_model.safetensors", "conditioner/model.safetensors", "scene/model.safetensors")


@contextlib.contextmanager
def report_damage(what: str, folder: Path) -> Iterator[None]:
    """Turn errors of unreadable files into an InputError."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{what} is damaged ({reason}); {_advice(folder)}") from None


def check_complete(folder: Path) -> None:
    if not folder.is_dir():
        advice = f"{_advice(folder)}, or name a model on the hub as owner/name"
        raise InputError(f"there is no prior folder {folder}; {advice}")
    if not has_image_model(folder):
        return
    for part in ("model_index.json", "scheduler/scheduler_config.json", "unet/config.json", *WEIGHT_FILES):
        if not (folder / part).is_file():
            raise InputError(f"the folder {folder} is not a pixel prior: {part} is missing; {_advice(folder)}")


def _advice(folder: Path) -> str:
    if folder == embedded_folder():
        return "the installation is incomplete: install dreamfusion3d again"
    return "give a folder written by train-prior, or omit --prior"
