"""Folders of small networks: settings in config.json, weights as a half-precision safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import load_file, save_file
from torch import nn

from dreamfusion3d.core.files import atomic_write, write_json

_WEIGHTS_FILE = "model.safetensors"
_Module = TypeVar("_Module", bound=nn.Module)


def save_module(module: nn.Module, folder: Path, config: Mapping[str, object]) -> None:
    """Write ``config`` and the weights of ``module`` in half precision."""
    write_json(folder / "config.json", config)
    with atomic_write(folder / _WEIGHTS_FILE) as temporary:
        save_file({k: v.half().contiguous() for k, v in module.state_dict().items()}, temporary)


def read_module_config(folder: Path) -> dict[str, Any]:
    """Read the settings that ``save_module`` wrote."""
    return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))


def load_weights(module: _Module, folder: Path) -> _Module:
    """Load the weights that ``save_module`` wrote, in float32, and return ``module``."""
    module.load_state_dict({k: v.float() for k, v in load_file(folder / _WEIGHTS_FILE).items()})
    return module
