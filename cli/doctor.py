"""``doctor``: what this machine has, and how long an asset would take on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

ReportRow = tuple[str, str]


def doctor(
    prior: Annotated[str, typer.Option(help="'embedded', a folder, a hub id, or a plug-in.")] = "embedded",
    step: Annotated[bool, typer.Option("--step/--no-step", help="Time some steps of the prior.")] = True,
    memory_budget: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Plan a step for this much memory, as 8GB.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: bytes, seconds.")] = False,
) -> None:
    """Tell what this machine has for making assets: devices, memory, extras, models, time.

    Nothing is fetched. Ends with exit code 2 when the prior cannot be used.
    """
    from dreamfusion3d.core.errors import InputError
    from dreamfusion3d.core.progress import LineProgress
    from dreamfusion3d.doctor import system_report
    from dreamfusion3d.memory import budget as amount

    budget = None if memory_budget is None else amount.parse_bytes(memory_budget)
    report = system_report(prior, step=step, memory_budget=budget, log=LineProgress().log)
    print(json.dumps(report, indent=2) if as_json else "\n".join(format_report(report)))
    if problem := (report["step"] or {}).get("problem"):
        raise InputError(problem)


def format_report(report: dict[str, Any]) -> Iterator[str]:
    """The report as a table: a section a heading, a fact a line."""
    sections: dict[str, list[ReportRow]] = {
        "Machine": _machine_rows(report["machine"]),
        "Versions": list(report["versions"].items()),
        "Extras": [(n, _availability(e["present"], "", e)) for n, e in report["extras"].items()]
        + [(n, _availability(p["path"] is not None, f" ({p['path']})", p)) for n, p in report["programs"].items()],
        "Models": _model_rows(report["cache"]),
        "Presets": [
            (p["name"], _fit_status(p) if p["state"] == "embedded" else f"{p['prior']}: {_fit_status(p)}")
            for p in report["presets"]
        ],
        "Prior": _prior_rows(report["prior"], report["step"]),
    }
    width = max(len(name) for rows in sections.values() for name, _ in rows)
    for heading, rows in sections.items():
        yield heading
        for name, value in rows:
            yield f"  {name:<{width}}  {value}"


def _machine_rows(facts: dict[str, Any]) -> list[ReportRow]:
    threads = facts["threads"]
    rows = [
        ("system", facts["system"]),
        ("processor", f"{facts['processor']}, {facts['cores']} cores to use, {facts['vectors']}"),
        ("threads", f"{threads['torch']} of torch, {threads['kernels']} of the kernels"),
        ("memory", f"{_format_bytes(facts['memory_bytes'])}, {_format_bytes(facts['memory_free_bytes'])} free"),
    ]
    for gpu in facts["gpus"]:
        rows.append(
            ("GPU", f"{gpu['name']}, {_format_bytes(gpu.get('bytes'))}, {_format_bytes(gpu.get('free_bytes'))} free")
        )
    if not facts["gpus"]:
        build = "this torch is built without CUDA" if facts["cuda_build"] is None else "torch finds none"
        rows.append(("GPU", f"none ({build})"))
    return [*rows, ("device", f"{facts['device']} (what --device auto takes)")]


def _availability(present: bool, detail: str, facts: dict[str, Any]) -> str:
    if present:
        return f"present{detail}, for {facts['for']}"
    lacking = f", lacks {', '.join(facts['lacking'])}" if facts.get("lacking") else ""
    return f"absent{lacking}; for {facts['for']}: {facts['install']}"


def _model_rows(cache: dict[str, Any]) -> list[ReportRow]:
    offline = "yes (HF_HUB_OFFLINE): nothing is fetched" if cache["offline"] else "no: hub ids are fetched"
    rows = [
        ("hub's cache", f"{cache['hub']}, {_format_bytes(cache['free_bytes'])} free"),
        ("encoded prompts", cache["texts"]),
        ("offline", offline),
    ]
    rows += [("cached", f"{model['id']}, {_format_bytes(model['bytes'])}") for model in cache["models"]]
    return rows if cache["models"] else [*rows, ("cached", "none")]


def _fit_status(facts: dict[str, Any]) -> str:
    if facts["state"] == "absent":
        return "not here" + (f"; the hub removed it, a copy is {facts['copy']}" if facts["copy"] else "")
    if facts["needs_bytes"] is None:
        return f"{facts['state']}, of unknown size"
    fit_text = {True: "fits", False: "does not fit", None: "may fit"}[facts["fits"]]
    return f"{facts['state']}, {fit_text} (weights {_format_bytes(facts['needs_bytes'])}, and the steps' own memory)"


def _prior_rows(facts: dict[str, Any], step: dict[str, Any] | None) -> list[ReportRow]:
    rows = [("name", facts["prior"]), ("state", _fit_status(facts))]
    if step is None:
        return [*rows, ("step", "not timed")]
    if "problem" in step:
        return [*rows, ("step", f"not timed: {step['problem']}")]
    rows.append(
        (
            "step",
            f"{step['small_seconds']:.2f} s on the small pictures of a run's beginning, "
            f"{step['large_seconds']:.2f} s on large ones ({step['device']})",
        )
    )
    plan = step["memory"]
    for name, facts in (("memory of a step", plan), ("least memory", plan["least"])):
        size, seconds = _format_bytes(facts["predicted_peak_bytes"]), facts["predicted_seconds"]
        rows.append((name, f"{size}, {seconds:.2f} s: {facts['plan']} (predicted)"))
    for quality, seconds in step["steps_of_an_asset_seconds"].items():
        rows.append((f"{quality} asset", f"about {_format_duration(seconds)} of steps, and then mesh and texture"))
    return [*rows, ("", "(an estimate for this machine, as busy as it is now)")]


def _format_bytes(count: int | None) -> str:
    if count is None:
        return "unknown"
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"


def _format_duration(seconds: int) -> str:
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
