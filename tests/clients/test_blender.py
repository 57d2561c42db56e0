"""The GLB as an artist finds it in Blender: one object, textured, standing on the floor, in metres."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.asset import EXTRAS, HEIGHT, NAME, clay_ball

pytestmark = pytest.mark.clients


def blender_report(path: Path) -> dict:
    """What Blender says of a GLB; skips where there is no Blender."""
    blender = os.environ.get("DREAMFUSION3D_BLENDER") or shutil.which("blender")
    if blender is None:
        pytest.skip("blender is not on PATH, and DREAMFUSION3D_BLENDER names none")
    # an activated environment's numpy would be imported by Blender's own Python
    kept = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")}
    kept["PATH"] = os.defpath
    result = subprocess.run(
        [blender, "-b", "--factory-startup", "--python-exit-code", "3",
         "--python", str(Path(__file__).with_name("blender_report.py")), "--", str(path)],
        env=kept, capture_output=True, text=True, timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    line = next(line for line in result.stdout.splitlines() if line.startswith("REPORT "))
    return json.loads(line.removeprefix("REPORT "))


def test_opens_in_blender(tmp_path):
    report = blender_report(clay_ball(tmp_path))
    assert report["objects"] == [[NAME, "MESH", None]]
    # Blender's up is +Z and its front -Y: glTF (x, y, z) arrives as (x, -z, y)
    assert report["low"][2] == pytest.approx(0, abs=1e-4)
    assert report["high"][2] == pytest.approx(HEIGHT, rel=1e-3)
    assert report["dimensions"] == pytest.approx([2 * HEIGHT, 1.5 * HEIGHT, HEIGHT], rel=0.02)
    assert report["low"][0] == pytest.approx(-report["high"][0], abs=1e-3)
    assert len(report["uv_layers"]) == 1 and report["materials"] == [NAME]
    assert report["base_colour_linked"] and report["metallic"] == 0
    assert report["roughness"] == pytest.approx(0.8, abs=1e-3)
    assert report["images"] == [[NAME, [128, 128], True, "sRGB"]]
    assert report["properties"] == EXTRAS
