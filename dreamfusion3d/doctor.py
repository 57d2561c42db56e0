"""System report: hardware, packages, models and speed of this machine, for users and bug reports.

The report never uses the network, and nothing that is missing is an error.
"""

from __future__ import annotations

import contextlib
import platform
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from dreamfusion3d.core.config import PriorConfig, presets, resolve_config

if TYPE_CHECKING:
    import torch

PACKAGE_NAME = "dreamfusion3d"
EXTRA_PURPOSES = {  # user-facing extras
    "priors": "published diffusion models (--prior)",
    "clip": "CLIP models (evaluate --encoder)",
    "usd": "--format usdz",
    "collision": "--collision parts",
    "view": "dreamfusion3d view",
    "quads": "--quads",
    "scan": "--init with a point cloud",
    "ray": "dreamfusion3d batch --ray",
}
REPORTED_PACKAGES = ("torch", "diffusers", "numpy", "numba", "safetensors", "huggingface_hub", "trimesh", "xatlas")
MAX_WEIGHTS_FRACTION = 0.8  # of the free memory, for a prior's weights; the rest is for the steps


def system_report(
    prior: str = "embedded",
    *,
    step: bool = True,
    memory_budget: int | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Return the report as plain values for JSON: bytes, seconds, names.

    A missing or broken prior is reported under "step", as "problem".

    Args:
        step: time some optimization steps of ``prior`` and plan their memory.
        memory_budget: memory in bytes to plan a step for; None for all available memory.
    """
    from dreamfusion3d.core.backends import choose_device

    device, settings = choose_device("auto"), PriorConfig(name=prior)
    report: dict[str, Any] = {
        "machine": machine_report(device),
        "versions": package_versions(),
        "extras": check_extras(),
        "programs": find_programs(),
        "cache": cache_report(),
    }
    free = _free_device_memory(report["machine"])
    presets_ = {name: resolve_config(preset=name).prior for name in presets.preset_names()}
    report["presets"] = [{"name": name, **prior_report(p, device, free)} for name, p in presets_.items()]
    report |= {"prior": prior_report(settings, device, free), "step": None}
    if step:
        from dreamfusion3d.pipelines.step_timing import time_prior

        report["step"] = time_prior(settings, device, memory_budget, log)
    return report


def machine_report(device: torch.device) -> dict[str, Any]:
    import numba
    import torch

    from dreamfusion3d.core.backends import available_cores

    total, free = total_and_free_memory()
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": available_cores(),
        "threads": {"torch": torch.get_num_threads(), "kernels": numba.config.NUMBA_NUM_THREADS},
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "memory_bytes": total,
        "memory_free_bytes": free,
        "device": device.type,
        "cuda_build": torch.version.cuda,
        "gpus": list_gpus(),
    }


def list_gpus() -> list[dict[str, Any]]:
    """List the GPUs that torch can use."""
    import torch

    gpus = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        facts: dict[str, Any] = {"name": torch.cuda.get_device_name(index)}
        with contextlib.suppress(RuntimeError):  # used exclusively by another process
            facts["free_bytes"], facts["bytes"] = torch.cuda.mem_get_info(index)
        gpus.append(facts)
    return gpus


def total_and_free_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> tuple[int, int]:
    """Return total and available main memory in bytes, within the limit of a container (cgroup v2)."""
    memory = psutil.virtual_memory()
    with contextlib.suppress(OSError, ValueError):
        limit = int((cgroup / "memory.max").read_text())  # ValueError for "max": unlimited
        used = int((cgroup / "memory.current").read_text())
        return min(memory.total, limit), max(0, min(memory.available, limit - used))
    return memory.total, memory.available


def package_versions() -> dict[str, str]:
    names = (PACKAGE_NAME, *REPORTED_PACKAGES)
    return {"python": platform.python_version(), **{name: _installed_version(name) or "absent" for name in names}}


def _installed_version(name: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(name)
    return None


def check_extras() -> dict[str, dict[str, Any]]:
    """List for each extra the requirements that are missing or too old, by the package's metadata."""
    from packaging.requirements import Requirement

    try:
        requirements = [Requirement(line) for line in metadata.requires(PACKAGE_NAME) or ()]
    except metadata.PackageNotFoundError:  # not installed
        return {}
    report: dict[str, dict[str, Any]] = {}
    for extra, purpose in EXTRA_PURPOSES.items():
        extra_requirements = [
            r
            for r in requirements
            if r.marker and r.marker.evaluate({"extra": extra}) and not r.marker.evaluate({"extra": ""})
        ]
        lacking = [
            f"{r.name}{r.specifier}"
            for r in extra_requirements
            if not ((installed := _installed_version(r.name)) and r.specifier.contains(installed, prereleases=True))
        ]
        command = f"pip install '{PACKAGE_NAME}[{extra}]'"
        report[extra] = {"present": not lacking, "lacking": lacking, "for": purpose, "install": command}
    return report


def find_programs() -> dict[str, dict[str, Any]]:
    from dreamfusion3d.mesh.io import fbx

    hint = f"install Blender, or set {fbx.BLENDER_VARIABLE} to its path"
    return {"Blender": {"path": fbx.find_blender(), "for": "--format fbx", "install": hint}}


def cache_report() -> dict[str, Any]:
    """Report the hub's cache, the cache of text embeddings, and offline mode."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    from dreamfusion3d.core.files import cache_folder

    folder = Path(constants.HF_HUB_CACHE)
    models = []
    with contextlib.suppress(CacheNotFound, OSError, ValueError):
        repos = [repo for repo in scan_cache_dir(folder).repos if repo.repo_type == "model"]
        models = [{"id": repo.repo_id, "bytes": repo.size_on_disk} for repo in repos]
    existing = next((p for p in (folder, *folder.parents) if p.exists()), None)
    return {
        "hub": str(folder),
        "offline": bool(constants.HF_HUB_OFFLINE),
        "models": sorted(models, key=lambda m: str(m["id"])),
        "free_bytes": shutil.disk_usage(existing).free if existing else None,
        "texts": str(cache_folder()),
    }


def prior_report(settings: PriorConfig, device: torch.device, free: int | None) -> dict[str, Any]:
    """Report where the prior is, how large its weights are, and whether they fit (None: unknown)."""
    from dreamfusion3d.priors.locate import locate_prior, prior_weight_bytes
    from dreamfusion3d.priors.pretrained.hub import MIRRORS

    found = locate_prior(settings)
    needed_bytes = prior_weight_bytes(found, settings, device)
    fits = None if needed_bytes is None or free is None else needed_bytes <= MAX_WEIGHTS_FRACTION * free
    return {
        "prior": found.name,
        "state": found.state,
        "needs_bytes": needed_bytes,
        "fits": fits if found.is_available else False,
        "copy": MIRRORS.get(found.name),
    }


def _free_device_memory(machine: dict[str, Any]) -> int | None:
    """Return the free memory of the device that a run would use."""
    if machine["device"] == "cuda":
        return machine["gpus"][0].get("free_bytes") if machine["gpus"] else None
    return machine["memory_free_bytes"]
