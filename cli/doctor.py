"""``doctor``: what this machine has, and how long an asset would take on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

Row = tuple[str, str]


def doctor(
    prior: Annotated[str, typer.Option(help="'embedded', a folder, a hub id, or a plug-in.")] = "embedded",
    step: Annotated[bool, typer.Option("--step/--no-step", help="Time some steps of the prior.")] = True,
    memory_budget: Annotated[str | None, typer.Option(
        metavar="AMOUNT", help="Plan a step for this much memory, as 8GB."
    )] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: bytes, seconds.")] = False,
) -> None:
    """Tell what this machine has for making assets: devices, memory, extras, models, time.

    Nothing is fetched. Ends with exit code 2 when the prior cannot be used.
    """
    from dreamfusion3d.core.errors import InputError
    from dreamfusion3d.core.progress import Plain
    from dreamfusion3d.doctor import examine
    from dreamfusion3d.memory import budget as amount

    budget = None if memory_budget is None else amount.parse(memory_budget)
    report = examine(prior, step=step, budget=budget, say=Plain().say)
    print(json.dumps(report, indent=2) if as_json else "\n".join(lines(report)))
    if problem := (report["step"] or {}).get("problem"):
        raise InputError(problem)


def lines(report: dict[str, Any]) -> Iterator[str]:
    """The report as a table: a section a heading, a fact a line."""
    sections: dict[str, list[Row]] = {
        "Machine": _machine(report["machine"]),
        "Versions": list(report["versions"].items()),
        "Extras": [(n, _have(e["present"], "", e)) for n, e in report["extras"].items()]
        + [(n, _have(p["path"] is not None, f" ({p['path']})", p)) for n, p in report["programs"].items()],
        "Models": _models(report["cache"]),
        "Presets": [
            (p["name"], _fit(p) if p["state"] == "embedded" else f"{p['prior']}: {_fit(p)}")
            for p in report["presets"]
        ],
        "Prior": _prior(report["prior"], report["step"]),
    }
    width = max(len(name) for rows in sections.values() for name, _ in rows)
    for heading, rows in sections.items():
        yield heading
        for name, value in rows:
            yield f"  {name:<{width}}  {value}"


def _machine(facts: dict[str, Any]) -> list[Row]:
    threads = facts["threads"]
    rows = [
        ("system", facts["system"]),
        ("processor", f"{facts['processor']}, {facts['cores']} cores to use, {facts['vectors']}"),
        ("threads", f"{threads['torch']} of torch, {threads['kernels']} of the kernels"),
        ("memory", f"{_size(facts['memory_bytes'])}, {_size(facts['memory_free_bytes'])} free"),
    ]
    for gpu in facts["gpus"]:
        rows.append(("GPU", f"{gpu['name']}, {_size(gpu.get('bytes'))}, {_size(gpu.get('free_bytes'))} free"))
    if not facts["gpus"]:
        build = "this torch is built without CUDA" if facts["cuda_build"] is None else "torch finds none"
        rows.append(("GPU", f"none ({build})"))
    return [*rows, ("device", f"{facts['device']} (what --device auto takes)")]


def _have(present: bool, detail: str, facts: dict[str, Any]) -> str:
    if present:
        return f"present{detail}, for {facts['for']}"
    lacking = f", lacks {', '.join(facts['lacking'])}" if facts.get("lacking") else ""
    return f"absent{lacking}; for {facts['for']}: {facts['install']}"


def _models(cache: dict[str, Any]) -> list[Row]:
    offline = "yes (HF_HUB_OFFLINE): nothing is fetched" if cache["offline"] else "no: hub ids are fetched"
    rows = [
        ("hub's cache", f"{cache['hub']}, {_size(cache['free_bytes'])} free"),
        ("encoded prompts", cache["texts"]), ("offline", offline),
    ]
    rows += [("cached", f"{model['id']}, {_size(model['bytes'])}") for model in cache["models"]]
    return rows if cache["models"] else [*rows, ("cached", "none")]


def _fit(facts: dict[str, Any]) -> str:
    if facts["state"] == "absent":
        return "not here" + (f"; the hub removed it, a copy is {facts['copy']}" if facts["copy"] else "")
    if facts["needs_bytes"] is None:
        return f"{facts['state']}, of unknown size"
    told = {True: "fits", False: "does not fit", None: "may fit"}[facts["fits"]]
    return f"{facts['state']}, {told} (weights {_size(facts['needs_bytes'])}, and the steps' own memory)"


def _prior(facts: dict[str, Any], step: dict[str, Any] | None) -> list[Row]:
    rows = [("name", facts["prior"]), ("state", _fit(facts))]
    if step is None:
        return [*rows, ("step", "not timed")]
    if "problem" in step:
        return [*rows, ("step", f"not timed: {step['problem']}")]
    rows.append((
        "step", f"{step['small_seconds']:.2f} s on the small pictures of a run's beginning, "
        f"{step['large_seconds']:.2f} s on large ones ({step['device']})",
    ))
    plan = step["memory"]
    for name, facts in (("memory of a step", plan), ("least memory", plan["least"])):
        size, seconds = _size(facts["predicted_peak_bytes"]), facts["predicted_seconds"]
        rows.append((name, f"{size}, {seconds:.2f} s: {facts['plan']} (predicted)"))
    for quality, seconds in step["steps_of_an_asset_seconds"].items():
        rows.append((f"{quality} asset", f"about {_time(seconds)} of steps, and then mesh and texture"))
    return [*rows, ("", "(an estimate for this machine, as busy as it is now)")]


def _size(count: int | None) -> str:
    if count is None:
        return "unknown"
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"


def _time(seconds: int) -> str:
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
