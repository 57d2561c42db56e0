"""Run native libraries that may hang or crash in a subprocess of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE_ROOT = Path(__file__).resolve().parents[2]


def run_native_worker(module: str, library: str, timeout_s: float, **inputs: Any) -> dict[str, np.ndarray] | str:
    """Run ``python -m module IN.npz OUT.npz``, and kill it after ``timeout_s``.

    ``inputs`` are stored in IN.npz. Returns the arrays of OUT.npz, or a message about ``library`` that
    says why there are none.
    """
    path = os.pathsep.join(p for p in (str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")) if p)
    with tempfile.TemporaryDirectory(prefix="dreamfusion3d-worker-") as folder:
        source, target = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(source, **inputs)
        command = [sys.executable, "-m", module, str(source), str(target)]
        environment = {**os.environ, "PYTHONPATH": path}
        try:
            subprocess.run(command, timeout=timeout_s, check=True, capture_output=True, text=True, env=environment)
            with np.load(target, allow_pickle=False) as result:
                return dict(result)
        except subprocess.TimeoutExpired:
            return f"{library} did not finish within {timeout_s:g} s"
        except subprocess.CalledProcessError as error:
            last = (error.stderr or "").strip().splitlines()[-1:]
            return f"{library} failed with exit code {error.returncode}" + "".join(f": {line}" for line in last)
        except (OSError, ValueError):
            return f"{library} returned no mesh"
