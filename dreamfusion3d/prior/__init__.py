"""Frozen diffusion priors behind one protocol, loaded by name or folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from dreamfusion3d.prior.protocol import Prior

EMBEDDED = "embedded"


def embedded_folder() -> Path:
    """Where the shipped weights lie."""
    return Path(__file__).parent / "embedded"


def load_prior(name: str = EMBEDDED, *, device: torch.device | str = "cpu") -> Prior:
    """The prior called ``name``: "embedded", or a folder that ``train-prior`` wrote.

    Raises InputError when the folder is missing, of another kind, or damaged.
    """
    from dreamfusion3d.prior.pixel import PixelPrior

    folder = embedded_folder() if name == EMBEDDED else Path(name).expanduser()
    return PixelPrior(folder, EMBEDDED if name == EMBEDDED else folder.name, device=device)
