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
from dreamfusion3d.core.files import replacing
from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.mesh.io.axes import Frame
from dreamfusion3d.mesh.io.gltf import Extras, write_glb

BLENDER = "DREAMFUSION3D_BLENDER"  # names a Blender that is not on PATH
SCRIPT = Path(__file__).with_name("fbx_in_blender.py")
SECONDS = 600.0
ADVICE = "install Blender or leave fbx out (GLB carries the same)"


def blender() -> str | None:
    """The Blender to call: of DREAMFUSION3D_BLENDER, or on PATH."""
    return shutil.which(os.environ.get(BLENDER) or "blender")


def check() -> None:
    """Raises InputError where there is no Blender."""
    if blender() is None:
        named = os.environ.get(BLENDER)
        where = f"{BLENDER} names {named}, which is no program" if named else "there is none on PATH"
        raise InputError(f"the format fbx is written by Blender, and {where}: {ADVICE}")


def write_fbx(textured: TexturedMesh, path: Path, name: str, extras: Extras, frame: Frame) -> list[Path]:
    """Binary FBX with the texture inside; ``extras`` as properties of the object.

    Blender stamps the time into the file: two of one mesh differ in some bytes.
    """
    check()
    with tempfile.TemporaryDirectory() as folder:
        glb, made = Path(folder) / f"{name}.glb", Path(folder) / f"{name}.fbx"
        write_glb(textured, glb, name, extras)
        said = _run([str(glb), str(made), frame.up, repr(frame.metres)])
        if not made.exists():
            raise InputError(f"Blender wrote no FBX: {said}; try another Blender ({BLENDER}), or {ADVICE}")
        with replacing(path) as temporary:
            shutil.copyfile(made, temporary)
    return [path]


def _run(arguments: list[str]) -> str:
    """Runs the script; the last line that Blender printed, for an error's message."""
    command = [
        str(blender()), "--background", "--factory-startup", "--python-exit-code", "3",
        "--python", str(SCRIPT), "--", *arguments,
    ]
    try:
        done = subprocess.run(
            command, env=clean_environment(), capture_output=True, text=True, errors="replace",
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"it ran for more than {SECONDS:.0f} s"
    except OSError as error:
        return f"it does not start ({error.strerror})"
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line]
    return (errors or lines or [f"exit code {done.returncode}"])[-1]


def clean_environment() -> dict[str, str]:
    """Ours without what would lead Blender's own Python to the packages of an activated environment."""
    ours = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    environment = {k: v for k, v in os.environ.items() if k not in ours}
    if sys.prefix != sys.base_prefix:
        prefix = Path(sys.prefix)
        entries = environment.get("PATH", os.defpath).split(os.pathsep)
        kept = [e for e in entries if e and prefix not in (Path(e), *Path(e).parents)]
        environment["PATH"] = os.pathsep.join(kept)
    return environment
