"""Files that a mesh file refers to, and the hash of all of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dreamfusion3d.core.files import file_sha256
from dreamfusion3d.mesh.io.companions import companion_files, mesh_file_sha256


def write_obj(folder: Path) -> Path:
    (folder / "box.obj").write_text("mtllib box.mtl\nv 0 0 0\n")
    (folder / "box.mtl").write_text("newmtl a\nKd 1 1 1\nmap_Kd -s 2 2 2 wood.png\n")
    (folder / "wood.png").write_bytes(b"wood")
    return folder / "box.obj"


def write_gltf(folder: Path) -> Path:
    tree = {"buffers": [{"uri": "box%20a.bin"}, {"uri": "data:,x"}], "images": [{"uri": "wood.png"}, {"bufferView": 0}]}
    (folder / "box.gltf").write_text(json.dumps(tree))
    (folder / "box a.bin").write_bytes(b"bin")
    (folder / "wood.png").write_bytes(b"wood")
    return folder / "box.gltf"


@pytest.mark.parametrize("write", [write_obj, write_gltf])
def test_a_change_of_any_file_changes_the_hash(tmp_path, write):
    path = write(tmp_path)
    files = companion_files(path)
    assert len(files) == 2
    for file in (path, *files):
        before = mesh_file_sha256(path)
        file.write_bytes(file.read_bytes() + b" ")
        assert mesh_file_sha256(path) != before


def test_a_file_alone_has_its_own_hash_and_nothing_outside_its_folder_counts(tmp_path):
    (tmp_path / "secret.mtl").write_text("")
    (tmp_path / "inside").mkdir()
    path = tmp_path / "inside" / "box.obj"
    path.write_text("mtllib ../secret.mtl\nmtllib absent.mtl\n")
    assert companion_files(path) == [] and mesh_file_sha256(path) == file_sha256(path)
    for content in ("[]", "{", '{"buffers": [1]}'):
        (tmp_path / "bad.gltf").write_text(content)
        assert companion_files(tmp_path / "bad.gltf") == []
