"""Components that the field connects at a lower density are bridged; others are left unchanged."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from dreamfusion3d.mesh.bridge_components import MIN_COMPONENT_FRACTION, bridge_components
from dreamfusion3d.mesh.clean import extract_solid
from dreamfusion3d.mesh.quality import mesh_quality

R = 48


def ball(y: float, radius: float) -> np.ndarray:
    """Log density: positive within."""
    axis = np.linspace(-1, 1, R)
    x, up, z = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.clip(10 * (radius - np.sqrt(x**2 + (up - y) ** 2 + z**2)), -3, 3).astype(np.float32)


def mast(value: float) -> np.ndarray:
    axis = np.linspace(-1, 1, R)
    x, up, z = np.meshgrid(axis, axis, axis, indexing="ij")
    thin = (np.hypot(x, z) < 0.05) & (np.abs(up) < 0.5)
    return np.where(thin, value, -3).astype(np.float32)


def bodies(grid: np.ndarray) -> int:
    return int(ndimage.label(grid > 0)[1])


def sailing(mast_value: float) -> np.ndarray:
    return np.maximum.reduce([ball(-0.5, 0.35), ball(0.55, 0.25), mast(mast_value)])


def test_bridge_components_keeps_a_sail_on_its_mast() -> None:
    grid = sailing(-1.0)
    assert bodies(grid) == 2
    bridged = bridge_components(grid, 0.0)
    assert bodies(bridged) == 1
    assert (bridged >= grid).all()
    mesh = extract_solid(bridged, 0.0)
    facts = mesh_quality(mesh)
    assert (facts.components, facts.genus, facts.watertight) == (1, 0, True)
    assert mesh.vertices[:, 1].max() > 0.7, "the sail is there"
    assert extract_solid(grid, 0.0).vertices[:, 1].max() < 0, "and without the bridge it is not"


def test_bridge_components_adds_a_thin_bridge() -> None:
    grid = sailing(-1.0)
    added = (bridge_components(grid, 0.0) > 0) & (grid <= 0)
    x, _, z = np.argwhere(added).T
    assert np.ptp(x) <= 5 and np.ptp(z) <= 5
    assert 0 < added.sum() < 0.05 * (grid > 0).sum()


def test_bridge_components_leaves_unconnected_components() -> None:
    grid = sailing(-3.0)
    np.testing.assert_array_equal(bridge_components(grid, 0.0), grid)


def test_bridge_components_ignores_floaters() -> None:
    grid = sailing(-1.0)
    crumb = np.maximum.reduce([ball(-0.5, 0.35), ball(0.3, 0.06), mast(-1.0)])
    sizes = np.bincount(ndimage.label(crumb > 0)[0].ravel())[1:]
    assert sizes.min() < MIN_COMPONENT_FRACTION * sizes.max()
    np.testing.assert_array_equal(bridge_components(crumb, 0.0), crumb)
    one = ball(0.0, 0.4)
    assert bridge_components(one, 0.0) is one
    assert bodies(grid) == 2, "the input is not written to"
