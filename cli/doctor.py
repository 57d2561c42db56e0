"""``dreamfusion3d doctor``: report what this machine offers and how long an asset would take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from .options import MaxMemory, parse_max_memory
from .report import format_bytes, format_duration

ReportRow = tuple[str, str]


def doctor(
    prior: Annotated[str, typer.Option(help="'embedded', a folder, a hub id, or a plug-in.")] = "embedded",
    step: Annotated[bool, typer.Option("--step/--no-step", help="Time a few steps of the prior.")] = True,
    max_memory: MaxMemory = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object (bytes, seconds).")] = False,
) -> None:
    """Report devices, memory, extras, cached models, and the time an asset takes on this machine.

    Downloads nothing.
    Exits with code 2 if the prior cannot be used.
    """
    from dreamfusion3d.core.errors import InputError
    from dreamfusion3d.core.progress import LineProgress
    from dreamfusion3d.doctor import system_report

    report = system_report(prior, step=step, memory_budget=parse_max_memory(max_memory), log=LineProgress().log)
    print(json.dumps(report, indent=2) if as_json else "\n".join(format_report(report)))
    if problem := (report["step"] or {}).get("problem"):
        raise InputError(problem)


def format_report(report: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the report: a heading per section, a line per fact."""
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
        ("processor", f"{facts['processor']}, {facts['cores']} cores, {facts['vectors']}"),
        ("threads", f"torch {threads['torch']}, numba {threads['kernels']}"),
        ("memory", f"{format_bytes(facts['memory_bytes'])}, {format_bytes(facts['memory_free_bytes'])} free"),
    ]
    for gpu in facts["gpus"]:
        sizes = f"{format_bytes(gpu.get('bytes'))}, {format_bytes(gpu.get('free_bytes'))} free"
        rows.append(("GPU", f"{gpu['name']}, {sizes}"))
    if not facts["gpus"]:
        reason = "this torch is built without CUDA" if facts["cuda_build"] is None else "torch finds none"
        rows.append(("GPU", f"none ({reason})"))
    return [*rows, ("device", f"{facts['device']} (chosen by --device auto)")]


def _availability(present: bool, detail: str, facts: dict[str, Any]) -> str:
    if present:
        return f"installed{detail}: {facts['for']}"
    missing = f" ({', '.join(facts['lacking'])} missing)" if facts.get("lacking") else ""
    return f"not installed{missing}: {facts['for']}; {facts['install']}"


def _model_rows(cache: dict[str, Any]) -> list[ReportRow]:
    offline = "yes (HF_HUB_OFFLINE)" if cache["offline"] else "no: hub ids are downloaded"
    rows = [
        ("hub cache", f"{cache['hub']}, {format_bytes(cache['free_bytes'])} free"),
        ("prompt cache", cache["texts"]),
        ("offline", offline),
    ]
    rows += [("cached", f"{model['id']}, {format_bytes(model['bytes'])}") for model in cache["models"]]
    return rows if cache["models"] else [*rows, ("cached", "none")]


def _fit_status(facts: dict[str, Any]) -> str:
    if facts["state"] == "absent":
        return "not cached" + (f"; removed from the hub, copy at {facts['copy']}" if facts["copy"] else "")
    if facts["needs_bytes"] is None:
        return f"{facts['state']}, size unknown"
    fit_text = {True: "fits", False: "does not fit", None: "may fit"}[facts["fits"]]
    return f"{facts['state']}, {fit_text} (weights {format_bytes(facts['needs_bytes'])}, plus memory for the steps)"


def _prior_rows(facts: dict[str, Any], step: dict[str, Any] | None) -> list[ReportRow]:
    rows = [("name", facts["prior"]), ("state", _fit_status(facts))]
    if step is None:
        return [*rows, ("step", "not timed")]
    if "problem" in step:
        return [*rows, ("step", f"not timed: {step['problem']}")]
    small, large = step["small_seconds"], step["large_seconds"]
    rows.append(("step", f"{small:.2f} s at the coarse resolution, {large:.2f} s at full ({step['device']})"))
    plan = step["memory"]
    for name, facts in (("memory per step", plan), ("minimum memory", plan["least"])):
        size, seconds = format_bytes(facts["predicted_peak_bytes"]), facts["predicted_seconds"]
        rows.append((name, f"{size}, {seconds:.2f} s: {facts['plan']} (predicted)"))
    for quality, seconds in step["steps_of_an_asset_seconds"].items():
        duration = format_duration(seconds)
        rows.append((f"{quality} asset", f"about {duration} of steps (none for known shapes), plus mesh and texture"))
    return [*rows, ("", "(estimated under the machine's current load)")]
