"""Subprocesses for native libraries: their errors become messages, and a hanging one is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dreamfusion3d.mesh.native_worker import run_native_worker


def test_run_native_worker_reports_a_crash() -> None:
    result = run_native_worker("tests.support.no_such_worker", "xatlas", 60.0, vertices=np.zeros((3, 3)))
    assert isinstance(result, str)
    assert result.startswith("xatlas failed with exit code 1: ") and "no_such_worker" in result


def test_run_native_worker_kills_a_hanging_process(tmp_path: Path) -> None:
    start, pid_file = time.monotonic(), tmp_path / "pid"
    result = run_native_worker("tests.support.hanging_worker", "xatlas", 5.0, pid_file=str(pid_file))
    assert result == "xatlas did not finish within 5 s"
    assert time.monotonic() - start < 60
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_run_native_worker_needs_an_output_file() -> None:
    assert run_native_worker("this", "xatlas", 60.0) == "xatlas returned no mesh"


def test_xatlas_worker_starts_without_torch() -> None:
    check = "import sys, dreamfusion3d.mesh.xatlas_worker; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(__file__).parents[2])
