"""Remeshing to quads keeps the solid and the face budget."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from dreamfusion3d.core.errors import MissingExtraError
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh import quads
from dreamfusion3d.mesh.bake import bake_albedo
from dreamfusion3d.mesh.io.obj import write_obj
from dreamfusion3d.mesh.quality import mesh_quality
from tests.support.shapes import mesh_of, torus


def grid_torus(n: int = 24, m: int = 12) -> Mesh:
    """A torus of n m quads, cut along diagonals as QuadriFlow's are."""
    i, j = np.meshgrid(np.arange(n), np.arange(m), indexing="ij")
    u, v = 2 * np.pi * i / n, 2 * np.pi * j / m
    ring = 0.5 + 0.2 * np.cos(v)
    points = np.stack([ring * np.cos(u), ring * np.sin(u), 0.2 * np.sin(v)], -1).reshape(-1, 3)
    four = np.stack([i * m + j, (i + 1) % n * m + j, (i + 1) % n * m + (j + 1) % m, i * m + (j + 1) % m], -1)
    return Mesh(points, quads._split_quads(points, four.reshape(-1, 4)))


def test_is_quad_mesh_detects_halves_of_quads() -> None:
    mesh = grid_torus()
    assert mesh_quality(mesh).genus == 1
    assert quads.is_quad_mesh(mesh.faces)
    assert not quads.is_quad_mesh(mesh.faces[1:-1])
    assert not quads.is_quad_mesh(mesh_of(torus).faces)


def test_split_quads_cuts_the_shorter_diagonal() -> None:
    flat = np.array([[0, 0, 0], [3.0, 0, 0], [4, 1, 0], [1, 1, 0]])
    (first, second) = quads._split_quads(flat, np.array([[0, 1, 2, 3]]))
    assert {int(first[0]), int(first[2])} == {1, 3}
    assert {int(second[0]), int(second[1])} == {1, 3}


def corners_of(path: Path) -> list[list[str]]:
    return [line.split()[1:] for line in path.read_text().splitlines() if line.startswith("f ")]


def test_write_obj_keeps_quads(tmp_path: Path) -> None:
    textured = bake_albedo(grid_torus(), lambda p: np.full((len(p), 3), 0.5), 128)
    marked = dataclasses.replace(textured, quads=np.array(True))
    write_obj(textured, tmp_path / "tri.obj", "tri")
    write_obj(marked, tmp_path / "quad.obj", "quad")
    plain, mixed = corners_of(tmp_path / "tri.obj"), corners_of(tmp_path / "quad.obj")
    four = [f for f in mixed if len(f) == 4]
    assert len(four) > 0.8 * len(plain) / 2
    again = [t for f in mixed for t in ([f] if len(f) == 3 else [f[:3], [f[0], f[2], f[3]]])]
    assert again == plain


def test_require_quadriflow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyQuadriFlow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dreamfusion3d\[quads\]'"):
        quads.require_quadriflow()


def test_run_quadriflow_reports_a_timeout() -> None:
    assert quads._run_quadriflow(mesh_of(torus), 500, 0.01) == "QuadriFlow did not finish within 0.01 s"


def test_remesh_to_quads_of_a_torus() -> None:
    pytest.importorskip("pyQuadriFlow", reason="pip install 'dreamfusion3d[quads]'")
    mesh = mesh_of(torus, faces=6000)
    made = quads.remesh_to_quads(mesh, 1600)
    assert isinstance(made, Mesh), made
    assert quads.is_quad_mesh(made.faces)
    assert mesh_quality(made).genus == 1
    assert 0.7 * 1600 < len(made.faces) < 1.3 * 1600
    assert mesh_quality(made).volume == pytest.approx(mesh_quality(mesh).volume, rel=0.03)


@pytest.mark.parametrize("excess, succeeds", [(1.12, True), (0.9, True), (None, False)])
def test_remesh_within_budget_lowers_its_target(excess: float | None, succeeds: bool) -> None:
    """A remesher that exceeds its target is called again with a lower one."""
    targets: list[int] = []

    def remesh(mesh: Mesh, target: int, timeout_s: float) -> tuple[np.ndarray, np.ndarray]:
        targets.append(target)
        count = 1000 if excess is None else round(target * excess)
        return np.zeros((4, 3)), np.zeros((count, 4), np.int64)

    found = quads._remesh_within_budget(mesh_of(torus), 500, 60.0, remesh)
    assert isinstance(found, tuple) == succeeds
    if isinstance(found, tuple):
        assert 400 <= len(found[1]) <= 500 and len(targets) <= 2
    else:
        assert "more than 500" in found and len(targets) == quads.MAX_ATTEMPTS
