"""Write FBX with the user's installation of Blender.

The format is proprietary and no free library writes it well. Blender runs as a background process;
nothing of it is imported or shipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.files import atomic_write
from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.mesh.io.axes import CoordinateFrame
from dreamfusion3d.mesh.io.gltf import Extras, write_glb

BLENDER_VARIABLE = "DREAMFUSION3D_BLENDER"  # path of a Blender that is not on PATH
BLENDER_SCRIPT = Path(__file__).with_name("fbx_in_blender.py")
BLENDER_TIMEOUT_S = 600.0
ADVICE = "install Blender, or use GLB, which holds the same data"


def find_blender() -> str | None:
    """Return the Blender of DREAMFUSION3D_BLENDER or PATH, or None."""
    return shutil.which(os.environ.get(BLENDER_VARIABLE) or "blender")


def require_blender() -> None:
    """Raise InputError if there is no Blender."""
    if find_blender() is None:
        value = os.environ.get(BLENDER_VARIABLE)
        problem = f"{BLENDER_VARIABLE}={value} is not a program" if value else "Blender is not on PATH"
        raise InputError(f"the format fbx needs Blender, but {problem}; {ADVICE}")


def write_fbx(textured: TexturedMesh, path: Path, name: str, extras: Extras, frame: CoordinateFrame) -> list[Path]:
    """Write binary FBX with the texture embedded and ``extras`` as properties of the object.

    Blender stores a timestamp, so two files of the same mesh differ in a few bytes.
    """
    require_blender()
    with tempfile.TemporaryDirectory() as folder:
        glb, fbx = Path(folder) / f"{name}.glb", Path(folder) / f"{name}.fbx"
        write_glb(textured, glb, name, extras)
        message = _run_blender([str(glb), str(fbx), frame.up, repr(frame.meters_per_unit)])
        if not fbx.exists():
            raise InputError(f"Blender wrote no FBX: {message}; set {BLENDER_VARIABLE} to another Blender, or {ADVICE}")
        with atomic_write(path) as temporary:
            shutil.copyfile(fbx, temporary)
    return [path]


def _run_blender(arguments: list[str]) -> str:
    """Run the script; return the last line that Blender printed, for an error message."""
    options = ["--background", "--factory-startup", "--python-exit-code", "3", "--python", str(BLENDER_SCRIPT)]
    command = [str(find_blender()), *options, "--", *arguments]
    try:
        output: dict[str, Any] = {"capture_output": True, "text": True, "errors": "replace"}
        done = subprocess.run(command, env=blender_environment(), timeout=BLENDER_TIMEOUT_S, **output)
    except subprocess.TimeoutExpired:
        return f"it ran for more than {BLENDER_TIMEOUT_S:.0f} s"
    except OSError as error:
        return f"it does not start ({error.strerror})"
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line]
    return (errors or lines or [f"exit code {done.returncode}"])[-1]


def blender_environment() -> dict[str, str]:
    """Return the environment without the entries that lead Blender's Python to our packages."""
    variables = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    environment = {k: v for k, v in os.environ.items() if k not in variables}
    if sys.prefix != sys.base_prefix:
        prefix = Path(sys.prefix)
        entries = environment.get("PATH", os.defpath).split(os.pathsep)
        outside = [e for e in entries if e and prefix not in (Path(e), *Path(e).parents)]
        environment["PATH"] = os.pathsep.join(outside)
    return environment
