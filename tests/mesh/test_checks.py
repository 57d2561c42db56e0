"""Measurements of the mesh report on shapes with known values."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.checks import atlas_report, chamfer_distance, mesh_report, sample_surface
from tests.support.shapes import mesh_of, sphere, textured_of, torus


def test_chamfer_distance_of_concentric_balls():
    inner, outer = (mesh_of(lambda p, r=r: sphere(p, r), 32) for r in (0.5, 0.6))
    assert chamfer_distance(inner, outer) == pytest.approx(0.1, rel=0.03)
    assert chamfer_distance(inner, outer) == pytest.approx(chamfer_distance(outer, inner), rel=1e-12)
    assert chamfer_distance(inner, inner) < 1e-12


def test_sample_surface_is_uniform():
    square = Mesh(np.array([[0, 0, 0], [4, 0, 0], [4, 1, 0], [0, 1, 0.0]]), np.array([[0, 1, 2], [0, 2, 3]]))
    points = sample_surface(square, 8000)
    assert (points >= 0).all() and (points <= (4, 1, 0)).all()
    counts, *_ = np.histogram2d(points[:, 0], points[:, 1], bins=(8, 4), range=((0, 4), (0, 1)))
    assert counts == pytest.approx(250, rel=0.15)


def test_atlas_report_detects_overlap_and_uneven_texels():
    good = textured_of(torus)
    report = atlas_report(good)
    assert report.overlap <= 1e-3 and report.evenness > 0.95 and 0.2 < report.coverage <= 1
    texels = np.sqrt((good.texture.shape[0] ** 2) * report.coverage / surface_area(good))
    assert report.density == pytest.approx(texels, rel=0.1)
    first = good.uv[good.faces[0]]
    faces = np.arange(3 * len(good.faces)).reshape(-1, 3)
    piled = dataclasses.replace(
        good,
        vertices=good.vertices[good.faces].reshape(-1, 3),
        faces=faces,
        normals=good.normals[good.faces].reshape(-1, 3),
        uv=np.tile((first - first.min(0)) / np.ptp(first, axis=0).max(), (len(faces), 1)).astype(np.float32),
    )
    assert atlas_report(piled).overlap == 1
    squeezed = dataclasses.replace(good, uv=good.uv**3)
    assert atlas_report(squeezed).evenness < 0.8


def surface_area(mesh) -> float:
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces].astype(float), 1, 0)
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def test_mesh_report_combines_all_measurements():
    mesh, textured = mesh_of(torus), textured_of(torus)
    report = mesh_report(mesh, textured, mesh, 0.97)
    assert report.self_intersections == 0 and report.silhouette_iou == 0.97 and report.chamfer < 1e-12
    moved = Mesh(mesh.vertices * 1.02, mesh.faces)
    assert 1e-3 < mesh_report(mesh, textured, moved, 0.97).chamfer < 0.02
