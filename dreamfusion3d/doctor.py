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

from dreamfusion3d.core.config import QUALITIES, Config, PriorConfig, presets, resolve
from dreamfusion3d.core.errors import InputError

if TYPE_CHECKING:
    import torch

    from dreamfusion3d.priors.protocol import Prior

PACKAGE = "dreamfusion3d"
EXTRAS = {  # those for users, and what for
    "priors": "published diffusion models (--prior)", "clip": "CLIP models (evaluate --encoder)",
    "usd": "--format usdz", "collision": "--collision parts", "view": "dreamfusion3d view",
    "quads": "--quads", "scan": "--init with a point cloud", "ray": "dreamfusion3d batch --ray",
}
WATCHED = ("torch", "diffusers", "numpy", "numba", "safetensors", "huggingface_hub", "trimesh", "xatlas")
ROOM = 0.8  # share of the free memory that a prior's weights may take; the rest is for the steps
STEPS = 5  # timed, of which the first compiles
PROMPT = "a mug"
Say = Callable[[str], None]


def examine(
    prior: str = "embedded", *, step: bool = True, budget: int | None = None, say: Say = lambda _: None
) -> dict[str, Any]:
    """Plain values for JSON: bytes, seconds, names. ``step``: time some steps of ``prior`` too, and plan one
    for ``budget`` bytes of memory, or for whatever there is.

    A prior that is absent or broken is told under "step", as "problem".
    """
    from dreamfusion3d.core.backends import choose_device

    device = choose_device("auto")
    settings = PriorConfig(name=prior)
    report: dict[str, Any] = {
        "machine": machine(device), "versions": versions(), "extras": extras(), "programs": programs(),
        "cache": cache(),
    }
    free = _free(report["machine"])
    report["presets"] = [preset(name, device, free) for name in presets.names()]
    report["prior"] = prior_facts(settings, device, free)
    report["step"] = timed(settings, device, budget, say) if step else None
    return report


def machine(device: torch.device) -> dict[str, Any]:
    import numba
    import torch

    total, free = ram()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": platform.platform(), "processor": platform.machine(), "cores": cores,
        "threads": {"torch": torch.get_num_threads(), "kernels": numba.config.NUMBA_NUM_THREADS},
        "vectors": torch.backends.cpu.get_cpu_capability(), "memory_bytes": total, "memory_free_bytes": free,
        "device": device.type, "cuda_build": torch.version.cuda, "gpus": gpus(),
    }


def gpus() -> list[dict[str, Any]]:
    """Those that torch can use."""
    import torch

    found = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        facts: dict[str, Any] = {"name": torch.cuda.get_device_name(index)}
        with contextlib.suppress(RuntimeError):  # one that another process holds alone
            facts["free_bytes"], facts["bytes"] = torch.cuda.mem_get_info(index)
        found.append(facts)
    return found


def ram(root: Path = Path("/")) -> tuple[int | None, int | None]:
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


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in (PACKAGE, *WATCHED):
        found[name] = _version(name) or "absent"
    return found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def extras() -> dict[str, dict[str, Any]]:
    """Of each extra what lacks or is too old, by the package's own metadata."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in metadata.requires(PACKAGE) or ()]
    except metadata.PackageNotFoundError:  # run from its sources
        return {}
    found: dict[str, dict[str, Any]] = {}
    for extra, purpose in EXTRAS.items():
        mine = [
            r for r in wanted
            if r.marker and r.marker.evaluate({"extra": extra}) and not r.marker.evaluate({"extra": ""})
        ]
        lacking = [
            f"{r.name}{r.specifier}" for r in mine
            if not ((have := _version(r.name)) and r.specifier.contains(have, prereleases=True))
        ]
        found[extra] = {
            "present": not lacking, "lacking": lacking, "for": purpose,
            "install": f"pip install '{PACKAGE}[{extra}]'",
        }
    return found


def programs() -> dict[str, dict[str, Any]]:
    from dreamfusion3d.mesh.io import fbx

    return {"Blender": {
        "path": fbx.blender(), "for": "--format fbx",
        "install": f"install Blender, or name it by {fbx.BLENDER}",
    }}


def cache() -> dict[str, Any]:
    """The hub's cache and our own, and whether the hub may be asked."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    from dreamfusion3d.core.files import cache_folder

    folder = Path(constants.HF_HUB_CACHE)
    models = []
    with contextlib.suppress(CacheNotFound, OSError, ValueError):
        models = [
            {"id": repo.repo_id, "bytes": repo.size_on_disk}
            for repo in scan_cache_dir(folder).repos if repo.repo_type == "model"
        ]
    room = next((p for p in (folder, *folder.parents) if p.exists()), None)
    return {
        "hub": str(folder), "offline": bool(constants.HF_HUB_OFFLINE),
        "models": sorted(models, key=lambda m: str(m["id"])),
        "free_bytes": shutil.disk_usage(room).free if room else None, "texts": str(cache_folder()),
    }


def preset(name: str, device: torch.device, free: int | None) -> dict[str, Any]:
    return {"name": name, **prior_facts(resolve(preset=name).prior, device, free)}


def prior_facts(settings: PriorConfig, device: torch.device, free: int | None) -> dict[str, Any]:
    """Where the prior is, how much its weights take, and whether that fits (None: cannot be told)."""
    from dreamfusion3d.priors.locate import find, memory
    from dreamfusion3d.priors.pretrained.hub import MIRRORS

    found = find(settings)
    needs = memory(found, settings, device)
    fits = None if needs is None or free is None else needs <= ROOM * free
    return {
        "prior": found.name, "state": found.state, "needs_bytes": needs,
        "fits": fits if found.here else False, "copy": MIRRORS.get(found.name),
    }


def _free(facts: dict[str, Any]) -> int | None:
    """Of the device that a run would take."""
    if facts["device"] == "cuda":
        return facts["gpus"][0].get("free_bytes") if facts["gpus"] else None
    return facts["memory_free_bytes"]


def timed(settings: PriorConfig, device: torch.device, budget: int | None, say: Say) -> dict[str, Any]:
    """Seconds of one step at standard settings, on small pictures (a run's first part) and on large,
    and from them those of the steps of an asset. A model that is not here is not fetched for it."""
    import torch

    from dreamfusion3d.priors.loading import load_prior
    from dreamfusion3d.priors.locate import find
    from dreamfusion3d.priors.protocol import foresees

    found = find(settings)
    if found.hub:
        return {"problem": f"the prior {found.name} is not on this machine; the first run with it fetches it"}
    config = dataclasses.replace(resolve(), prior=settings)
    try:
        # stdout carries the report alone, whatever a library prints
        with contextlib.redirect_stdout(sys.stderr):
            prior = load_prior(settings, device=device)  # first: one that is absent or broken is not timed
            say(f"timing {STEPS} steps of the prior '{settings.name}' on {device}; --no-step leaves that out")
            small, large = step_seconds(prior, config, device)
            memory = step_memory(prior, config, device, budget)
    except InputError as error:
        return {"problem": str(error)}
    except (torch.cuda.OutOfMemoryError, MemoryError):
        return {"problem": f"the prior {settings.name} and one step need more memory than {device} has free"}
    return {
        "prior": prior.name, "device": str(device), "small_seconds": round(small, 4),
        "large_seconds": round(large, 4), "memory": memory,
        "steps_of_an_asset_seconds": {
            q: round(steps_seconds(resolve(q), small, large, foresees(prior))) for q in QUALITIES
        },
    }


def step_seconds(prior: Prior, config: Config, device: torch.device) -> tuple[float, float]:
    """Of one step on small and on large pictures."""
    from dreamfusion3d.fields.nerf import NerfField
    from dreamfusion3d.pipelines.context import generator_for
    from dreamfusion3d.priors.view_prompts import encode_prompts
    from dreamfusion3d.training.distillation import optimize

    short = dataclasses.replace(config, optim=dataclasses.replace(config.optim, steps=STEPS))
    field = NerfField(config.field, generator=generator_for(0, "field", device))
    text = encode_prompts(prior, _askable(prior), config.prompts)
    steps = optimize(field, prior, text, short, generator=generator_for(0, "optimise", device))
    seconds = {step.index - 1: step.seconds for step in steps}
    small = [s for i, s in seconds.items() if i / (STEPS - 1) < config.render.coarse_share]
    large = [s for i, s in seconds.items() if i / (STEPS - 1) >= config.render.coarse_share]
    # the first of each kind pays for what is made once
    return (small or large)[-1], (large or small)[-1]


def step_memory(prior: Prior, config: Config, device: torch.device, budget: int | None) -> dict[str, Any]:
    """The plan for ``budget`` bytes, that of a step which keeps everything, and the least that would do;
    predictions. Raises InputError where the budget is less."""
    from dreamfusion3d.fields.nerf import NerfField
    from dreamfusion3d.memory.oom_fallback import within
    from dreamfusion3d.pipelines.context import generator_for
    from dreamfusion3d.priors.view_prompts import encode_prompts
    from dreamfusion3d.training.distillation import pictures_for
    from dreamfusion3d.training.step_planner import every_plan, spared

    field = NerfField(config.field, generator=generator_for(0, "field", device))
    text = encode_prompts(prior, _askable(prior), config.prompts)
    every = every_plan(pictures_for(field, config), prior, text, config, device, budget)
    plans = within(every, sys.maxsize, "a step")
    chosen = plans if budget is None else within(plans, budget, "a step", spared(prior, config, device))
    return {
        "budget_bytes": budget, **chosen[0].as_dict(),
        "whole": plans[0].as_dict(), "least": plans[-1].as_dict(),
    }


def steps_seconds(config: Config, small: float, large: float, foreseen: bool) -> float:
    """Of all steps of an asset; ``foreseen``: the prior gives them a head start."""
    from dreamfusion3d.training.distillation import steps_after

    share, started = config.render.coarse_share, foreseen and config.field.start == "prior"
    steps = steps_after(config.optim, config.optim.head_start if started else 0.0)
    return steps * (share * small + (1 - share) * large)


def _askable(prior: Prior) -> str:
    """A prompt that the prior serves: pixel priors know some nouns only."""
    from dreamfusion3d.priors.pixel.prior import PixelPrior
    from dreamfusion3d.priors.vocabulary import known_kinds, words_of

    if isinstance(prior, PixelPrior):
        vocabulary = prior.conditioner.vocabulary
        return [*known_kinds(vocabulary), *words_of(vocabulary), PROMPT][0]
    return PROMPT
