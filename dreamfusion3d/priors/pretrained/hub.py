"""Models by hub id: from the local cache where they are whole, from the hub otherwise."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.pretrained.diffusers_folder import MODEL_INDEX, PICKLE_SUFFIXES, select_weights

HUB_ID_PATTERN = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
LARGE_FILE_SUFFIXES = (*PICKLE_SUFFIXES, ".safetensors", ".msgpack", ".h5", ".onnx", ".onnx_data", ".gguf", ".xml")
# ids that tutorials still name; the owners removed them in August 2024 and November 2025
_SD1, _SD2 = "stable-diffusion-v1-5/", "sd2-community/"
MIRRORS = {
    "runwayml/stable-diffusion-v1-5": f"{_SD1}stable-diffusion-v1-5",
    "runwayml/stable-diffusion-inpainting": f"{_SD1}stable-diffusion-inpainting",
    "stabilityai/stable-diffusion-2": f"{_SD2}stable-diffusion-2",
    "stabilityai/stable-diffusion-2-base": f"{_SD2}stable-diffusion-2-base",
    "stabilityai/stable-diffusion-2-1": f"{_SD2}stable-diffusion-2-1",
    "stabilityai/stable-diffusion-2-1-base": f"{_SD2}stable-diffusion-2-1-base",
}
PartSelector = Callable[[dict[str, object]], Iterable[str]]  # of a model_index.json


def is_hub_id(name: str) -> bool:
    return HUB_ID_PATTERN.fullmatch(name) is not None


def fetch_snapshot(name: str, revision: str | None, variant: str | None, select_parts: PartSelector | None) -> Path:
    """The local folder of the hub's model ``name``, with the parts that ``parts_of`` its index names;
    None: a model of one part at its root.

    Nothing is asked of the network when the cache has it all. Raises InputError.
    """
    root_file = MODEL_INDEX if select_parts else "config.json"
    snapshot = cached_snapshot(name, revision, root_file)
    if snapshot is not None and is_snapshot_complete(snapshot, variant, select_parts):
        return snapshot
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    # the hub's and the network's errors are many and differ between versions; sorted below
    try:
        siblings = HfApi().model_info(name, revision=revision).siblings or []
        names = [sibling.rfilename for sibling in siblings]
        if root_file not in names:
            raise InputError(f"the hub's {name} holds no {root_file}: it is no model in diffusers' format")
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
    """The snapshot of ``name`` in the local cache, when it has at least the file ``first``."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(name, root_file, revision=revision)
    return Path(path).parent if isinstance(path, str) else None


def is_snapshot_complete(snapshot: Path, variant: str | None, select_parts: PartSelector | None) -> bool:
    """Whether the snapshot has weights for all its parts, and all pieces of those in pieces. Raises what
    ``parts_of`` does: of a model that is no prior nothing more need be fetched."""
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
                count = re.search(r"-of-(\d{5})", weights[0])
                if count and len(weights) != int(count[1]):
                    return False
    except (OSError, ValueError, InputError):
        return False
    return True


PARTS_WITHOUT_WEIGHTS = ("scheduler", "tokenizer")


def required_files(names: list[str], part: str, variant: str | None, source: str) -> list[str]:
    """The files of ``part`` that loading reads: the small ones, and one set of weights."""
    prefix = f"{part}/" if part else ""
    part_files = [n[len(prefix) :] for n in names if n.startswith(prefix) and "/" not in n[len(prefix) :]]
    selected = [n for n in part_files if not n.endswith(LARGE_FILE_SUFFIXES)]
    if not part:
        selected = [n for n in selected if n.endswith(".json")]
    if not part.startswith(PARTS_WITHOUT_WEIGHTS):
        selected += select_weights(part_files, part, variant, source)[0]
    return [prefix + n for n in selected]


def explain_hub_error(error: Exception, name: str, revision: str | None) -> str:
    """What to tell of an error of the hub, in one line."""
    from huggingface_hub import errors

    hint = "or give the folder of a copy with --prior FOLDER"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"the hub gives {name} only to those who accepted its licence: accept it on the model's page, "
            f"log in with 'hf auth login', {hint}"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        if name in MIRRORS:
            return f"{name} was removed from the hub; a copy of the same weights is --prior {MIRRORS[name]}"
        return (
            f"there is neither a folder {name} nor a public model of that name on the hub: mind the "
            f"spelling, log in with 'hf auth login' if it is private, {hint}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the hub's {name} has no revision {revision!r}; leave prior.revision out, or name another"
    if name in MIRRORS:
        return (
            f"{name} is not in the local cache, and the hub removed it; a copy of the same weights is "
            f"--prior {MIRRORS[name]}"
        )
    detail = " ".join(str(error).split())[:120]
    return (
        f"there is no folder {name}; as a hub id it is not in the local cache, and the hub cannot be reached "
        f"({detail or type(error).__name__}): go online once, {hint}"
    )
