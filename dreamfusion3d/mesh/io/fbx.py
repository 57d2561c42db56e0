"""FBX, by the user's own Blender: the format is closed, and no free library writes it well.

Blender runs as a program of its own, hidden; nothing of it is imported or shipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.files import atomic_write
from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.mesh.io.axes import CoordinateFrame
from dreamfusion3d.mesh.io.gltf import Extras, write_glb

BLENDER_VARIABLE = "DREAMFUSION3D_BLENDER"  # names a Blender that is not on PATH
BLENDER_SCRIPT = Path(__file__).with_name("fbx_in_blender.py")
BLENDER_TIMEOUT_S = 600.0
ADVICE = "install Blender or leave fbx out (GLB carries the same)"


def find_blender() -> str | None:
    """The Blender to call: of DREAMFUSION3D_BLENDER, or on PATH."""
    return shutil.which(os.environ.get(BLENDER_VARIABLE) or "blender")


def require_blender() -> None:
    """Raises InputError where there is no Blender."""
    if find_blender() is None:
        value = os.environ.get(BLENDER_VARIABLE)
        problem = f"{BLENDER_VARIABLE} names {value}, which is no program" if value else "there is none on PATH"
        raise InputError(f"the format fbx is written by Blender, and {problem}: {ADVICE}")


def write_fbx(textured: TexturedMesh, path: Path, name: str, extras: Extras, frame: CoordinateFrame) -> list[Path]:
    """Binary FBX with the texture inside; ``extras`` as properties of the object.

    Blender stamps the time into the file: two of one mesh differ in some bytes.
    """
    require_blender()
    with tempfile.TemporaryDirectory() as folder:
        glb, fbx = Path(folder) / f"{name}.glb", Path(folder) / f"{name}.fbx"
        write_glb(textured, glb, name, extras)
        message = _run_blender([str(glb), str(fbx), frame.up, repr(frame.meters_per_unit)])
        if not fbx.exists():
            raise InputError(f"Blender wrote no FBX: {message}; try another Blender ({BLENDER_VARIABLE}), or {ADVICE}")
        with atomic_write(path) as temporary:
            shutil.copyfile(fbx, temporary)
    return [path]


def _run_blender(arguments: list[str]) -> str:
    """Runs the script; the last line that Blender printed, for an error's message."""
    command = [
        str(find_blender()),
        "--background",
        "--factory-startup",
        "--python-exit-code",
        "3",
        "--python",
        str(BLENDER_SCRIPT),
        "--",
        *arguments,
    ]
    try:
        done = subprocess.run(
            command,
            env=blender_environment(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=BLENDER_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return f"it ran for more than {BLENDER_TIMEOUT_S:.0f} s"
    except OSError as error:
        return f"it does not start ({error.strerror})"
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line]
    return (errors or lines or [f"exit code {done.returncode}"])[-1]


def blender_environment() -> dict[str, str]:
    """Ours without what would lead Blender's own Python to the packages of an activated environment."""
    variables = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    environment = {k: v for k, v in os.environ.items() if k not in variables}
    if sys.prefix != sys.base_prefix:
        prefix = Path(sys.prefix)
        entries = environment.get("PATH", os.defpath).split(os.pathsep)
        outside = [e for e in entries if e and prefix not in (Path(e), *Path(e).parents)]
        environment["PATH"] = os.pathsep.join(outside)
    return environment
