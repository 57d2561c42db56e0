"""Models by hub id: from the local cache where they are whole, from the hub otherwise."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.pretrained.diffusers_folder import INDEX, PICKLED, chosen

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
WEIGHTY = (*PICKLED, ".safetensors", ".msgpack", ".h5", ".onnx", ".onnx_data", ".gguf", ".xml")
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
PartsOf = Callable[[dict[str, object]], Iterable[str]]  # of a model_index.json


def is_hub_id(name: str) -> bool:
    return HUB_ID.fullmatch(name) is not None


def fetch(name: str, revision: str | None, variant: str | None, parts_of: PartsOf | None) -> Path:
    """The local folder of the hub's model ``name``, with the parts that ``parts_of`` its index names;
    None: a model of one part at its root.

    Nothing is asked of the network when the cache has it all. Raises InputError.
    """
    first = INDEX if parts_of else "config.json"
    kept = cached(name, revision, first)
    if kept is not None and whole(kept, variant, parts_of):
        return kept
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    # the hub's and the network's errors are many and differ between versions; sorted below
    try:
        siblings = HfApi().model_info(name, revision=revision).siblings or []
        names = [sibling.rfilename for sibling in siblings]
        if first not in names:
            raise InputError(f"the hub's {name} holds no {first}: it is no model in diffusers' format")
        parts: list[str] = [""]
        if parts_of:
            path = hf_hub_download(name, first, revision=revision)
            parts = list(parts_of(json.loads(Path(path).read_text(encoding="utf-8"))))
        wanted = [first, *(n for part in parts for n in needed(names, part, variant, name))]
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except InputError:
        raise
    except Exception as error:
        raise InputError(reason(error, name, revision)) from None


def cached(name: str, revision: str | None, first: str) -> Path | None:
    """The snapshot of ``name`` in the local cache, when it has at least the file ``first``."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(name, first, revision=revision)
    return Path(path).parent if isinstance(path, str) else None


def whole(snapshot: Path, variant: str | None, parts_of: PartsOf | None) -> bool:
    """Whether the snapshot has weights for all its parts, and all pieces of those in pieces. Raises what
    ``parts_of`` does: of a model that is no prior nothing more need be fetched."""
    try:
        index = json.loads((snapshot / INDEX).read_text("utf-8")) if parts_of else {}
    except (OSError, ValueError):
        return False
    parts = list(parts_of(index)) if parts_of else [""]
    try:
        for part in parts:
            names = [p.name for p in (snapshot / part).iterdir()]
            if any(n.endswith("config.json") for n in names) and not part.startswith(WEIGHTLESS):
                weights, _ = chosen(names, part, variant, str(snapshot))
                count = re.search(r"-of-(\d{5})", weights[0])
                if count and len(weights) != int(count[1]):
                    return False
    except (OSError, ValueError, InputError):
        return False
    return True


WEIGHTLESS = ("scheduler", "tokenizer")


def needed(names: list[str], part: str, variant: str | None, where: str) -> list[str]:
    """The files of ``part`` that loading reads: the small ones, and one set of weights."""
    prefix = f"{part}/" if part else ""
    own = [n[len(prefix):] for n in names if n.startswith(prefix) and "/" not in n[len(prefix):]]
    found = [n for n in own if not n.endswith(WEIGHTY)]
    if not part:
        found = [n for n in found if n.endswith(".json")]
    if not part.startswith(WEIGHTLESS):
        found += chosen(own, part, variant, where)[0]
    return [prefix + n for n in found]


def reason(error: Exception, name: str, revision: str | None) -> str:
    """What to tell of an error of the hub, in one line."""
    from huggingface_hub import errors

    local = "or give the folder of a copy with --prior FOLDER"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"the hub gives {name} only to those who accepted its licence: accept it on the model's page, "
            f"log in with 'hf auth login', {local}"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        if name in MIRRORS:
            return f"{name} was removed from the hub; a copy of the same weights is --prior {MIRRORS[name]}"
        return (
            f"there is neither a folder {name} nor a public model of that name on the hub: mind the "
            f"spelling, log in with 'hf auth login' if it is private, {local}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the hub's {name} has no revision {revision!r}; leave prior.revision out, or name another"
    if name in MIRRORS:
        return (
            f"{name} is not in the local cache, and the hub removed it; a copy of the same weights is "
            f"--prior {MIRRORS[name]}"
        )
    why = " ".join(str(error).split())[:120]
    return (
        f"there is no folder {name}; as a hub id it is not in the local cache, and the hub cannot be reached "
        f"({why or type(error).__name__}): go online once, {local}"
    )
