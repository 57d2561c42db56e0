"""Models by Hugging Face Hub id: from the local cache if complete, otherwise downloaded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.pretrained.diffusers_folder import MODEL_INDEX, PICKLE_SUFFIXES, select_weights

HUB_ID_PATTERN = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
LARGE_FILE_SUFFIXES = (*PICKLE_SUFFIXES, ".safetensors", ".msgpack", ".h5", ".onnx", ".onnx_data", ".gguf", ".xml")
PARTS_WITHOUT_WEIGHTS = ("scheduler", "tokenizer")
# ids that tutorials still name; their owners removed them in August 2024 and November 2025
_SD1, _SD2 = "stable-diffusion-v1-5/", "sd2-community/"
MIRRORS = {
    "runwayml/stable-diffusion-v1-5": f"{_SD1}stable-diffusion-v1-5",
    "runwayml/stable-diffusion-inpainting": f"{_SD1}stable-diffusion-inpainting",
    "stabilityai/stable-diffusion-2": f"{_SD2}stable-diffusion-2",
    "stabilityai/stable-diffusion-2-base": f"{_SD2}stable-diffusion-2-base",
    "stabilityai/stable-diffusion-2-1": f"{_SD2}stable-diffusion-2-1",
    "stabilityai/stable-diffusion-2-1-base": f"{_SD2}stable-diffusion-2-1-base",
}
PartSelector = Callable[[dict[str, object]], Iterable[str]]  # model_index.json -> names of parts


def is_hub_id(name: str) -> bool:
    return HUB_ID_PATTERN.fullmatch(name) is not None


def fetch_snapshot(name: str, revision: str | None, variant: str | None, select_parts: PartSelector | None) -> Path:
    """Return the local folder of a hub model, downloading what the cache lacks.

    The network is not used when the cache is complete.

    Args:
        select_parts: chooses the parts to load from model_index.json; None for a model whose single
            part lies at the root.

    Raises:
        InputError: the model does not exist, is not in diffusers' format, or cannot be downloaded.
    """
    root_file = MODEL_INDEX if select_parts else "config.json"
    snapshot = cached_snapshot(name, revision, root_file)
    if snapshot is not None and is_snapshot_complete(snapshot, variant, select_parts):
        return snapshot
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    # hub and network errors vary between library versions; explain_hub_error sorts them out
    try:
        siblings = HfApi().model_info(name, revision=revision).siblings or []
        names = [sibling.rfilename for sibling in siblings]
        if root_file not in names:
            raise InputError(f"{name} on the hub has no {root_file}: it is not in diffusers' format")
        parts: list[str] = [""]
        if select_parts:
            path = hf_hub_download(name, root_file, revision=revision)
            parts = list(select_parts(json.loads(Path(path).read_text(encoding="utf-8"))))
        allow_patterns = [root_file, *(n for part in parts for n in required_files(names, part, variant, name))]
        return Path(snapshot_download(name, revision=revision, allow_patterns=allow_patterns))
    except InputError:
        raise
    except Exception as error:
        raise InputError(explain_hub_error(error, name, revision)) from None


def cached_snapshot(name: str, revision: str | None, root_file: str) -> Path | None:
    """Return the snapshot of ``name`` in the local cache if it contains ``root_file``, else None."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(name, root_file, revision=revision)
    return Path(path).parent if isinstance(path, str) else None


def is_snapshot_complete(snapshot: Path, variant: str | None, select_parts: PartSelector | None) -> bool:
    """Return True if every selected part has its weights, including all shards of sharded ones.

    Errors of ``select_parts`` propagate: nothing more is downloaded for a model that is not a prior.
    """
    try:
        index = json.loads((snapshot / MODEL_INDEX).read_text("utf-8")) if select_parts else {}
    except (OSError, ValueError):
        return False
    parts = list(select_parts(index)) if select_parts else [""]
    try:
        for part in parts:
            names = [p.name for p in (snapshot / part).iterdir()]
            if any(n.endswith("config.json") for n in names) and not part.startswith(PARTS_WITHOUT_WEIGHTS):
                weights, _ = select_weights(names, part, variant, str(snapshot))
                shards = re.search(r"-of-(\d{5})", weights[0])
                if shards and len(weights) != int(shards[1]):
                    return False
    except (OSError, ValueError, InputError):
        return False
    return True


def required_files(names: list[str], part: str, variant: str | None, source: str) -> list[str]:
    """List the files of ``part`` that loading reads: small files and one set of weights."""
    prefix = f"{part}/" if part else ""
    part_files = [n[len(prefix) :] for n in names if n.startswith(prefix) and "/" not in n[len(prefix) :]]
    selected = [n for n in part_files if not n.endswith(LARGE_FILE_SUFFIXES)]
    if not part:
        selected = [n for n in selected if n.endswith(".json")]
    if not part.startswith(PARTS_WITHOUT_WEIGHTS):
        selected += select_weights(part_files, part, variant, source)[0]
    return [prefix + n for n in selected]


def explain_hub_error(error: Exception, name: str, revision: str | None) -> str:
    """Return a one-line explanation of a hub error and what to do about it."""
    from huggingface_hub import errors

    hint = "or pass a local copy with --prior FOLDER"
    mirror = f"use a mirror of the same weights: --prior {MIRRORS.get(name)}"
    if isinstance(error, errors.GatedRepoError):
        return f"{name} is gated: accept its license on the model page and log in with 'hf auth login', {hint}"
    if isinstance(error, errors.RepositoryNotFoundError):
        if name in MIRRORS:
            return f"{name} was removed from the hub; {mirror}"
        return (
            f"there is neither a folder {name} nor a public model of that name on the hub: check the "
            f"spelling, log in with 'hf auth login' if it is private, {hint}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{name} on the hub has no revision {revision!r}; omit prior.revision or choose another"
    if name in MIRRORS:
        return f"{name} is not in the local cache and was removed from the hub; {mirror}"
    detail = " ".join(str(error).split())[:120]
    return (
        f"there is no folder {name}; the hub model of that name is not in the local cache, and the hub cannot be "
        f"reached ({detail or type(error).__name__}): connect once to download it, {hint}"
    )
