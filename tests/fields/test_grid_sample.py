"""Sampling of volumes: the numba kernel against torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dreamfusion3d.fields.grid_sample import grid_sample_3d


def problem(n=3000):
    """Points inside, at the edge and far outside, and one with a NaN."""
    generator = torch.Generator().manual_seed(0)
    volumes = torch.randn(2, 5, 6, 7, 8, generator=generator)
    points = torch.rand(2, n, 3, generator=generator) * 2.8 - 1.4
    points[0, 0], points[0, 1], points[1, 0, 1] = 1.0, 1e30, float("nan")
    return volumes, points


def reference(volumes, points, align_corners=False):
    padding, grid = "border" if align_corners else "zeros", points[:, None, None]
    return F.grid_sample(volumes, grid, align_corners=align_corners, padding_mode=padding)[:, :, 0, 0]


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last_3d])
def test_grid_sample_3d_equals_torch(align_corners, memory):
    volumes, points = problem()
    volumes = volumes.contiguous(memory_format=memory)
    found, expected = (f(volumes, points, align_corners=align_corners) for f in (grid_sample_3d, reference))
    assert found.is_contiguous()
    defined = torch.ones_like(found, dtype=torch.bool)
    defined[1, :, 0] = False  # torch defines no result for a NaN
    # x86-64; where torch's compiler fused products with sums, the last digit differs
    torch.testing.assert_close(found[defined], expected[defined], rtol=1e-6, atol=1e-6)
    assert found.isfinite().all()


def test_grid_sample_3d_has_torchs_gradients():
    volumes, points = (t.requires_grad_() for t in problem(50))
    with torch.no_grad():
        points[1, 0, 1] = 0.0
    grads = [
        torch.autograd.grad(sample(volumes, points).square().sum(), [volumes, points])
        for sample in (grid_sample_3d, reference)
    ]
    for one, other in zip(*grads, strict=True):
        assert torch.equal(one, other)


def test_grid_sample_3d_of_an_expanded_volume():
    volumes, points = problem()
    one = volumes[:1].expand(2, -1, -1, -1, -1)
    assert torch.equal(grid_sample_3d(one, points), grid_sample_3d(one.contiguous(), points))
