"""What this machine has for making assets, and how long one would take: for people and bug reports.

Everything is looked up; nothing is asked of the network, and nothing that is absent is an error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamfusion3d.core.config import QUALITIES, Config, PriorConfig, presets, resolve_config
from dreamfusion3d.core.errors import InputError

if TYPE_CHECKING:
    import torch

    from dreamfusion3d.priors.protocol import Prior

PACKAGE_NAME = "dreamfusion3d"
EXTRA_PURPOSES = {  # those for users, and what for
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
MAX_WEIGHTS_FRACTION = 0.8  # share of the free memory that a prior's weights may take; the rest is for the steps
TIMED_STEPS = 5  # timed, of which the first compiles
FALLBACK_PROMPT = "a mug"
MessageCallback = Callable[[str], None]


def system_report(
    prior: str = "embedded",
    *,
    step: bool = True,
    memory_budget: int | None = None,
    say: MessageCallback = lambda _: None,
) -> dict[str, Any]:
    """Plain values for JSON: bytes, seconds, names. ``step``: time some steps of ``prior`` too, and plan one
    for ``budget`` bytes of memory, or for whatever there is.

    A prior that is absent or broken is told under "step", as "problem".
    """
    from dreamfusion3d.core.backends import choose_device

    device = choose_device("auto")
    settings = PriorConfig(name=prior)
    report: dict[str, Any] = {
        "machine": machine_report(device),
        "versions": package_versions(),
        "extras": check_extras(),
        "programs": find_programs(),
        "cache": cache_report(),
    }
    free = _free_device_memory(report["machine"])
    report["presets"] = [preset_report(name, device, free) for name in presets.preset_names()]
    report["prior"] = prior_report(settings, device, free)
    report["step"] = time_prior(settings, device, memory_budget, say) if step else None
    return report


def machine_report(device: torch.device) -> dict[str, Any]:
    import numba
    import torch

    total, free = total_and_free_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": cores,
        "threads": {"torch": torch.get_num_threads(), "kernels": numba.config.NUMBA_NUM_THREADS},
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "memory_bytes": total,
        "memory_free_bytes": free,
        "device": device.type,
        "cuda_build": torch.version.cuda,
        "gpus": list_gpus(),
    }


def list_gpus() -> list[dict[str, Any]]:
    """Those that torch can use."""
    import torch

    gpus = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        facts: dict[str, Any] = {"name": torch.cuda.get_device_name(index)}
        with contextlib.suppress(RuntimeError):  # one that another process holds alone
            facts["free_bytes"], facts["bytes"] = torch.cuda.mem_get_info(index)
        gpus.append(facts)
    return gpus


def total_and_free_memory(root: Path = Path("/")) -> tuple[int | None, int | None]:
    """Bytes of memory, all and free; in a container no more than it may use. None: nobody tells."""
    total = free = None
    with contextlib.suppress(OSError, ValueError, AttributeError):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError):
        facts = dict(re.findall(r"^(\w+): +(\d+) kB$", (root / "proc/meminfo").read_text(), re.MULTILINE))
        total = 1024 * int(facts["MemTotal"]) if "MemTotal" in facts else total
        free = 1024 * int(facts["MemAvailable"]) if "MemAvailable" in facts else None
    if total is None and os.name == "nt":
        total, free = _windows_ram()
    with contextlib.suppress(OSError, ValueError):
        group = root / "sys/fs/cgroup"
        limit = int((group / "memory.max").read_text())  # "max": no number
        used = int((group / "memory.current").read_text())
        total = min(total or limit, limit)
        free = max(0, min(free if free is not None else limit, limit - used))
    return total, free


def _windows_ram() -> tuple[int | None, int | None]:
    import ctypes

    words = (ctypes.c_ulonglong * 8)()  # MEMORYSTATUSEX: two dwords, then total, free, ...
    words[0] = ctypes.sizeof(words)
    if not getattr(ctypes, "windll").kernel32.GlobalMemoryStatusEx(words):  # noqa: B009
        return None, None
    return int(words[1]), int(words[2])


def package_versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in (PACKAGE_NAME, *REPORTED_PACKAGES):
        versions[name] = _installed_version(name) or "absent"
    return versions


def _installed_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_extras() -> dict[str, dict[str, Any]]:
    """Of each extra what lacks or is too old, by the package's own metadata."""
    from packaging.requirements import Requirement

    try:
        requirements = [Requirement(line) for line in metadata.requires(PACKAGE_NAME) or ()]
    except metadata.PackageNotFoundError:  # run from its sources
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
        report[extra] = {
            "present": not lacking,
            "lacking": lacking,
            "for": purpose,
            "install": f"pip install '{PACKAGE_NAME}[{extra}]'",
        }
    return report


def find_programs() -> dict[str, dict[str, Any]]:
    from dreamfusion3d.mesh.io import fbx

    return {
        "Blender": {
            "path": fbx.find_blender(),
            "for": "--format fbx",
            "install": f"install Blender, or name it by {fbx.BLENDER_VARIABLE}",
        }
    }


def cache_report() -> dict[str, Any]:
    """The hub's cache and our own, and whether the hub may be asked."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    from dreamfusion3d.core.files import cache_folder

    folder = Path(constants.HF_HUB_CACHE)
    models = []
    with contextlib.suppress(CacheNotFound, OSError, ValueError):
        models = [
            {"id": repo.repo_id, "bytes": repo.size_on_disk}
            for repo in scan_cache_dir(folder).repos
            if repo.repo_type == "model"
        ]
    existing = next((p for p in (folder, *folder.parents) if p.exists()), None)
    return {
        "hub": str(folder),
        "offline": bool(constants.HF_HUB_OFFLINE),
        "models": sorted(models, key=lambda m: str(m["id"])),
        "free_bytes": shutil.disk_usage(existing).free if existing else None,
        "texts": str(cache_folder()),
    }


def preset_report(name: str, device: torch.device, free: int | None) -> dict[str, Any]:
    return {"name": name, **prior_report(resolve_config(preset=name).prior, device, free)}


def prior_report(settings: PriorConfig, device: torch.device, free: int | None) -> dict[str, Any]:
    """Where the prior is, how much its weights take, and whether that fits (None: cannot be told)."""
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
    """Of the device that a run would take."""
    if machine["device"] == "cuda":
        return machine["gpus"][0].get("free_bytes") if machine["gpus"] else None
    return machine["memory_free_bytes"]


def time_prior(
    settings: PriorConfig, device: torch.device, memory_budget: int | None, say: MessageCallback
) -> dict[str, Any]:
    """Seconds of one step at standard settings, on small pictures (a run's first part) and on large,
    and from them those of the steps of an asset. A model that is not here is not fetched for it."""
    import torch

    from dreamfusion3d.priors.loading import load_prior
    from dreamfusion3d.priors.locate import locate_prior
    from dreamfusion3d.priors.protocol import predicts_initial_volume

    found = locate_prior(settings)
    if found.is_downloadable:
        return {"problem": f"the prior {found.name} is not on this machine; the first run with it fetches it"}
    config = dataclasses.replace(resolve_config(), prior=settings)
    try:
        # stdout carries the report alone, whatever a library prints
        with contextlib.redirect_stdout(sys.stderr):
            prior = load_prior(settings, device=device)  # first: one that is absent or broken is not timed
            say(f"timing {TIMED_STEPS} steps of the prior '{settings.name}' on {device}; --no-step leaves that out")
            small, large = measure_step_seconds(prior, config, device)
            memory = plan_step_memory(prior, config, device, memory_budget)
    except InputError as error:
        return {"problem": str(error)}
    except (torch.cuda.OutOfMemoryError, MemoryError):
        return {"problem": f"the prior {settings.name} and one step need more memory than {device} has free"}
    return {
        "prior": prior.name,
        "device": str(device),
        "small_seconds": round(small, 4),
        "large_seconds": round(large, 4),
        "memory": memory,
        "steps_of_an_asset_seconds": {
            q: round(estimate_total_seconds(resolve_config(q), small, large, predicts_initial_volume(prior)))
            for q in QUALITIES
        },
    }


def measure_step_seconds(prior: Prior, config: Config, device: torch.device) -> tuple[float, float]:
    """Of one step on small and on large pictures."""
    from dreamfusion3d.fields.nerf import NerfField
    from dreamfusion3d.pipelines.context import seeded_generator
    from dreamfusion3d.priors.view_prompts import encode_prompts
    from dreamfusion3d.training.distillation import distill_field

    short = dataclasses.replace(config, optim=dataclasses.replace(config.optim, steps=TIMED_STEPS))
    field = NerfField(config.field, generator=seeded_generator(0, "field", device))
    text = encode_prompts(prior, _supported_prompt(prior), config.prompts)
    steps = distill_field(field, prior, text, short, generator=seeded_generator(0, "optimise", device))
    seconds = {step.index - 1: step.seconds for step in steps}
    small = [s for i, s in seconds.items() if i / (TIMED_STEPS - 1) < config.render.coarse_fraction]
    large = [s for i, s in seconds.items() if i / (TIMED_STEPS - 1) >= config.render.coarse_fraction]
    # the first of each kind pays for what is made once
    return (small or large)[-1], (large or small)[-1]


def plan_step_memory(prior: Prior, config: Config, device: torch.device, memory_budget: int | None) -> dict[str, Any]:
    """The plan for ``budget`` bytes, that of a step which keeps everything, and the least that would do;
    predictions. Raises InputError where the budget is less."""
    from dreamfusion3d.fields.nerf import NerfField
    from dreamfusion3d.memory.oom_fallback import select_plans
    from dreamfusion3d.pipelines.context import seeded_generator
    from dreamfusion3d.priors.view_prompts import encode_prompts
    from dreamfusion3d.training.distillation import distillation_workload
    from dreamfusion3d.training.step_planner import enumerate_step_plans, memory_advice

    field = NerfField(config.field, generator=seeded_generator(0, "field", device))
    text = encode_prompts(prior, _supported_prompt(prior), config.prompts)
    all_plans = enumerate_step_plans(distillation_workload(field, config), prior, text, config, device, memory_budget)
    plans = select_plans(all_plans, sys.maxsize, "a step")
    chosen = plans if memory_budget is None else select_plans(plans, memory_budget, "a step", memory_advice(prior))
    return {
        "budget_bytes": memory_budget,
        **chosen[0].as_dict(),
        "whole": plans[0].as_dict(),
        "least": plans[-1].as_dict(),
    }


def estimate_total_seconds(config: Config, small: float, large: float, has_initial_volume: bool) -> float:
    """Of all steps of an asset; ``foreseen``: the prior gives them a head start."""
    from dreamfusion3d.training.distillation import remaining_steps

    coarse_fraction, uses_initial_volume = (
        config.render.coarse_fraction,
        has_initial_volume and config.field.init == "prior",
    )
    steps = remaining_steps(config.optim, config.optim.init_skip_fraction if uses_initial_volume else 0.0)
    return steps * (coarse_fraction * small + (1 - coarse_fraction) * large)


def _supported_prompt(prior: Prior) -> str:
    """A prompt that the prior serves: pixel priors know some nouns only."""
    from dreamfusion3d.priors.pixel.prior import PixelPrior
    from dreamfusion3d.priors.vocabulary import vocabulary_categories, vocabulary_words

    if isinstance(prior, PixelPrior):
        vocabulary = prior.conditioner.vocabulary
        return [*vocabulary_categories(vocabulary), *vocabulary_words(vocabulary), FALLBACK_PROMPT][0]
    return FALLBACK_PROMPT
