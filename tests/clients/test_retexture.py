"""A mesh that was modelled in Blender, painted: its vertices and faces are Blender's to the bit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from dreamfusion3d.core.config import resolve_config
from dreamfusion3d.mesh.io import fbx
from dreamfusion3d.mesh.io.load import read_mesh
from dreamfusion3d.pipelines.retexture import retexture_mesh

pytestmark = pytest.mark.clients


def modelled(path: Path) -> Path:
    program = fbx.find_blender()
    if program is None:
        pytest.skip(f"blender is not on PATH, and {fbx.BLENDER_VARIABLE} names none")
    script = Path(__file__).with_name("blender_mushroom.py")
    command = [program, "-b", "--factory-startup", "--python-exit-code", "3", "--python", str(script)]
    subprocess.run(
        [*command, "--", str(path)], env=fbx.blender_environment(), check=True, capture_output=True, timeout=300
    )
    return path


def test_blenders_mesh_is_painted_and_not_moved(tmp_path: Path) -> None:
    given = modelled(tmp_path / "mushroom.glb")
    config = resolve_config("draft", None, ["mesh.retexture_steps=60", "mesh.texture_size=256"])
    asset = retexture_mesh("a red mushroom with a white stem", given, out=tmp_path / "out", config=config)
    before, after = read_mesh(given), read_mesh(asset.main_file)
    np.testing.assert_array_equal(after.vertices[after.faces], before.vertices[before.faces])
    assert asset.record.checks["corners_kept"]["passed"]
    picture = iio.imread(asset.folder / "thumbnail.png")[..., :3].astype(int)
    red = (picture[..., 0] - picture[..., 1:].max(-1)) > 60
    top, bottom = red[: len(red) // 2].sum(), red[len(red) // 2 :].sum()
    assert top > 2 * bottom and top > 0.02 * red.size, "the cap is red, and the stem is not"
