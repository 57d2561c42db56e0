"""Reports of foreign programs on a file: Blender, Godot, the Khronos glTF validator."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dreamfusion3d.mesh.io import fbx
from tests.support.programs import package, program

SCRIPTS = Path(__file__).parents[1] / "clients"  # what these programs run
PROJECT = """config_version=4
[application]
config/name="assets"
"""
PRESET = """[preset.0]
name="assets"
platform="Linux/X11"
runnable=true
export_filter="all_resources"
export_path=""
[preset.0.options]
"""


def blender_report(path: Path) -> dict:
    """Return Blender's report on a file, and ``picture``, a rendered frame (RGBA); skip where there is no Blender."""
    program, picture = fbx.find_blender(), path.with_name("rendered.png")
    if program is None:
        pytest.skip(f"blender is not on PATH, and {fbx.BLENDER_VARIABLE} names none")
    result = subprocess.run(
        [
            program,
            "-b",
            "--factory-startup",
            "--python-exit-code",
            "3",
            "--python",
            str(SCRIPTS / "blender_report.py"),
            "--",
            str(picture),
            str(path),
        ],
        env=fbx.blender_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    line = next(line for line in result.stdout.splitlines() if line.startswith("REPORT "))
    report = json.loads(line.removeprefix("REPORT "))
    if picture.exists():
        report["picture"] = np.asarray(Image.open(picture).convert("RGBA")).astype(int)
    return report


def gltf_validator_report(path: Path) -> dict:
    """Return the Khronos validator's report on a GLB or glTF; skip where it is not installed."""
    node, modules = program("node"), package("gltf-validator").parent
    result = subprocess.run(
        [node, str(SCRIPTS / "validate_gltf.cjs"), str(path)],
        env={**os.environ, "NODE_PATH": str(modules)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(result.stdout)


def godot_report(project: Path) -> dict:
    """Return Godot's report on ``project``/clay_ball.glb after importing it."""
    godot = program("godot3-server", "godot3-headless")
    (project / "project.godot").write_text(PROJECT)
    (project / "export_presets.cfg").write_text(PRESET)
    shutil.copy(SCRIPTS / "godot_report.gd", project)
    # exporting imports first; that it then fails for want of export templates does not matter
    imported = subprocess.run(
        [godot, "--path", str(project), "--export-pack", "assets", str(project / "assets.pck")],
        capture_output=True,
        text=True,
        timeout=180,
    )
    result = subprocess.run(
        [godot, "--path", str(project), "-s", "res://godot_report.gd"], capture_output=True, text=True, timeout=120
    )
    lines = [line for line in result.stdout.splitlines() if line.startswith("REPORT ")]
    assert lines, imported.stdout + imported.stderr + result.stdout + result.stderr
    return json.loads(lines[0].removeprefix("REPORT "))
