"""Model folders in diffusers' format: choosing weight files, loading parts, reporting damage."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from dreamfusion3d.core.errors import InputError

MODEL_INDEX = "model_index.json"
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# diffusion_pytorch_model.safetensors, model.fp16.safetensors, model.fp16-00001-of-00002.safetensors, ...
WEIGHTS_PATTERN = re.compile(
    r"(?:diffusion_pytorch_model|model)(?:\.(\w+))?(?:-\d{5}-of-\d{5})?(?:\.(\w+))?\.safetensors"
)
LOAD_ERRORS = (OSError, SafetensorError, RuntimeError, ValueError, KeyError, TypeError, AttributeError)
# reported as missing although they share storage with a loaded tensor
TIED_KEY_SUFFIXES = ("embed_tokens.weight", "position_ids")


@dataclass(frozen=True)
class DiffusersFolder:
    """A folder of parts (unet/, vae/, text_encoder/, ...) and the preferred variant of their weights."""

    path: Path
    variant: str | None = None

    def index(self) -> dict[str, Any]:
        """Read model_index.json. Raises InputError if it is missing or damaged."""
        return read_model_json(self.path / MODEL_INDEX, self.path)

    def config(self, part: str) -> dict[str, Any]:
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        return read_model_json(self.path / part / name, self.path)

    def has_part(self, part: str) -> bool:
        """Return True if the model has ``part``; the index lists an omitted part as [null, null]."""
        entry = self.index().get(part)
        return bool(entry and entry[0] is not None)

    def file_names(self, part: str) -> list[str]:
        folder = self.path / part
        return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []

    def load_module(self, part: str, model_class: Any, dtype: torch.dtype) -> Any:
        """Load ``part`` as a frozen network. Raises InputError if weights are missing, pickled or damaged."""
        path = self.path / part
        variant = select_weights(self.file_names(part), part, self.variant, str(self.path))[1]
        # the two libraries name this argument differently, and each warns about the other's name
        precision = {"dtype" if model_class.__module__.startswith("transformers") else "torch_dtype": dtype}
        with silence_libraries():
            try:
                options = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True, **precision}
                module, info = model_class.from_pretrained(path, variant=variant, **options)
            except torch.cuda.OutOfMemoryError:
                raise
            except LOAD_ERRORS as error:
                raise damaged_file_error(path, error) from None
        if missing := sorted(k for k in info["missing_keys"] if not k.endswith(TIED_KEY_SUFFIXES)):
            raise damaged_file_error(path, f"its weights lack {len(missing)} tensors, e.g. {missing[0]}")
        if not getattr(module, "_keep_in_fp32_modules", None):
            with silence_libraries():  # warns about modules to keep in float32, although there are none
                module = module.to(dtype)  # without accelerate, diffusers 0.42 leaves some classes in float32
        return module.eval().requires_grad_(False)

    def build_module(
        self, part: str, build: Callable[[dict[str, Any], dict[str, torch.Tensor]], Any], dtype: torch.dtype
    ) -> Any:
        """Build ``part``, whose class diffusers lacks, from its config and tensors. Raises like `load_module`."""
        path, config = self.path / part, self.config(part)
        weights = select_weights(self.file_names(part), part, self.variant, str(self.path))[0]
        try:
            tensors = {k: v.to(dtype) for name in weights for k, v in load_file(path / name).items()}
            return build(config, tensors).eval().requires_grad_(False)
        except torch.cuda.OutOfMemoryError:
            raise
        except LOAD_ERRORS as error:
            raise damaged_file_error(path, error) from None

    def part_files(self, parts: Iterable[str]) -> list[Path]:
        """List every file that affects the output of ``parts``: selected weights and small files."""
        paths = []
        for part in parts:
            names = self.file_names(part)
            selected = [n for n in names if not n.endswith((".safetensors", *PICKLE_SUFFIXES))]
            if len(selected) < len(names):
                selected += select_weights(names, part, self.variant, str(self.path))[0]
            paths += [path for n in selected if (path := self.path / part / n).is_file()]
        return paths


def select_weights(names: Iterable[str], part: str, variant: str | None, source: str) -> tuple[list[str], str | None]:
    """Choose the weight files of ``part`` among the file names in its folder; returns them and their variant.

    Preference: ``variant``, then files without a variant, then fp16, then any other variant. Raises InputError
    if there are no safetensors weights.
    """
    names = list(names)
    by_variant: dict[str | None, list[str]] = {}
    for name in names:
        if match := WEIGHTS_PATTERN.fullmatch(name):
            by_variant.setdefault(match[1] or match[2], []).append(name)
    if not by_variant:
        if any(name.endswith(PICKLE_SUFFIXES) for name in names):
            raise InputError(
                f"{part}/ of {source} holds only pickled weights, which can execute code and are never loaded; "
                "use a model with .safetensors files, or re-save it from diffusers with safe_serialization=True"
            )
        raise InputError(
            f"{part}/ of {source} holds no weights (.safetensors); complete the folder or choose another prior"
        )
    selected = variant if variant in by_variant else None
    if selected not in by_variant:
        selected = "fp16" if "fp16" in by_variant else min(k for k in by_variant if k is not None)
    return sorted(by_variant[selected]), selected


def read_model_json(path: Path, folder: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"the folder {folder} holds no prior: {path.name} is missing; "
            "use a folder in diffusers' format or one written by train-prior, or omit --prior"
        ) from None
    except (OSError, ValueError) as error:
        raise damaged_file_error(path, error) from None
    if not isinstance(value, dict):
        raise damaged_file_error(path, "not a JSON object")
    return value


def damaged_file_error(path: Path, cause: Exception | str) -> InputError:
    reason = " ".join(str(cause).split())[:160]
    return InputError(f"{path} is damaged ({reason}); download it again or choose another prior")


@contextlib.contextmanager
def silence_libraries() -> Iterator[None]:
    """Suppress the progress bars and log messages of diffusers and transformers."""
    libraries = [m for name in ("diffusers", "transformers") if (m := sys.modules.get(name)) is not None]
    loggers = [logging.getLogger(m.__name__) for m in libraries]
    levels = [logger.level for logger in loggers]
    for module, logger in zip(libraries, loggers, strict=True):
        logger.setLevel(logging.CRITICAL)
        module.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        for module, logger, level in zip(libraries, loggers, levels, strict=True):
            logger.setLevel(level)
            module.utils.logging.enable_progress_bar()
