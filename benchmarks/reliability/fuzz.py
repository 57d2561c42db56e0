"""Hostile manifests, settings, prompts, checkpoints and meshes: no traceback, no hang, no strange file.

    python -m benchmarks.reliability.fuzz [--inputs 20000] [--only manifest,mesh] [--seed 0]

Prints JSON: inputs, the slowest in seconds, failures (the first of each target, as hypothesis shrank it).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.support.fuzzing import TARGETS


def fuzz(name: str, count: int, number: int) -> dict[str, Any]:
    inputs, check, _ = TARGETS[name]
    asked, slowest, problem = 0, 0.0, ""
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "in"
        folder.mkdir()
        check(inputs.example(), folder)  # imports take their time

        @seed(number)
        @settings(
            max_examples=count,
            deadline=2000,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )
        @given(inputs)
        def ask(drawn: object) -> None:
            nonlocal asked, slowest
            asked += 1
            begun = time.perf_counter()
            check(drawn, folder)
            slowest = max(slowest, time.perf_counter() - begun)
            assert [p.name for p in Path(base).iterdir()] == ["in"], "written outside of the folder"

        try:
            ask()
        except Exception as error:  # what is looked for
            parts = getattr(error, "exceptions", [error])
            problem = "; ".join(f"{type(e).__name__}: {e} {getattr(e, '__notes__', '')}"[:700] for e in parts)
    return {"inputs": asked, "slowest_seconds": round(slowest, 3), "problem": problem}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--only", default=",".join(TARGETS))
    parser.add_argument("--seed", type=int, default=0)
    given_ = parser.parse_args()
    found = {
        name: fuzz(name, max(1, round(given_.inputs * TARGETS[name][2])), given_.seed)
        for name in given_.only.split(",")
    }
    total = sum(f["inputs"] for f in found.values())
    problems = sum(bool(f["problem"]) for f in found.values())
    print(json.dumps({"inputs": total, "problems": problems, **found}, indent=2))


if __name__ == "__main__":
    main()
