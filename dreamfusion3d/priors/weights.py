"""Files of small networks, as half-precision safetensors: folders with a config.json, or single files.

A single file has the settings and the record of the training in its header.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.files import atomic_write, write_json

_WEIGHTS_FILE = "model.safetensors"
_Module = TypeVar("_Module", bound=nn.Module)


def save_module(module: nn.Module, folder: Path, config: Mapping[str, object]) -> None:
    """Write ``config`` and the weights of ``module`` in half precision."""
    write_json(folder / "config.json", config)
    _save_weights(module, folder / _WEIGHTS_FILE)


def read_module_config(folder: Path) -> dict[str, Any]:
    """Read the settings that ``save_module`` wrote."""
    return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))


def load_weights(module: _Module, folder: Path) -> _Module:
    """Load the weights that ``save_module`` wrote, in float32, and return ``module``."""
    module.load_state_dict({k: v.float() for k, v in load_file(folder / _WEIGHTS_FILE).items()})
    return module


def save_network(network: nn.Module, path: Path, record: Mapping[str, Any]) -> None:
    """Write one file with the weights, ``network.config`` and ``record``, which describes the training."""
    _save_weights(network, path, {"config": json.dumps(network.config), "training": json.dumps(record)})


def load_network(make: Callable[..., _Module], path: Path, command: str) -> tuple[_Module, dict[str, Any]]:
    """Load what ``save_network`` wrote into ``make(**config)``, in float32; return it frozen, with the record.

    Raises InputError if the file is damaged, which names the ``command`` that trains the network.
    """
    try:
        with safe_open(path, framework="pt") as stream:
            header = stream.metadata()
            weights = {key: stream.get_tensor(key).float() for key in stream.keys()}  # noqa: SIM118
        with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten
            network = make(**json.loads(header["config"]))
        network.load_state_dict(weights)
        return network.eval().requires_grad_(False), json.loads(header["training"])
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"the network {path} is damaged ({reason}); train it again with {command}") from None


def _save_weights(module: nn.Module, path: Path, header: dict[str, str] | None = None) -> None:
    with atomic_write(path) as temporary:
        weights = {k: v.half().contiguous() for k, v in module.state_dict().items()}
        save_file(weights, temporary, metadata=header)
