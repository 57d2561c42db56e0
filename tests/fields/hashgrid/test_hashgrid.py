"""The hash grid: back ends against each other, a naive reference, and finite differences."""

from __future__ import annotations

import pytest
import torch

from dreamfusion3d.fields.hashgrid import hashgrid
from dreamfusion3d.fields.hashgrid.layout import HashGridLayout
from tests.support.reference import hashgrid_one_point

LAYOUTS = [
    HashGridLayout(),
    HashGridLayout(num_levels=3, features=1, log2_table_size=8, base_resolution=2, max_resolution=40),
    HashGridLayout(num_levels=1, features=4, log2_table_size=10, base_resolution=5, max_resolution=5),
    HashGridLayout(num_levels=12, features=2, log2_table_size=12, base_resolution=16, max_resolution=2048),
    # larger than a core's cache, dense and hashed: the numba kernels work in blocks
    HashGridLayout(num_levels=2, features=2, log2_table_size=17, base_resolution=42, max_resolution=300),
]
BACKENDS = ["torch", "numba"]


def problem(layout, n=257, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 3, generator=generator) * 1.2 - 0.1  # some outside
    table = torch.randn(layout.num_rows, layout.features, generator=generator)
    return x, table


@pytest.mark.parametrize("layout", LAYOUTS)
def test_hashgrid_layout_is_consistent(layout):
    assert len(layout.resolutions) == layout.num_levels
    assert layout.resolutions[0] == layout.base_resolution
    assert layout.resolutions[-1] in (layout.max_resolution, layout.base_resolution)
    assert list(layout.resolutions) == sorted(layout.resolutions)
    for level, n in enumerate(layout.resolutions):
        rows = layout.offsets[level + 1] - layout.offsets[level]
        assert rows == min((n + 1) ** 3, 2**layout.log2_table_size)
        assert layout.dense[level] == ((n + 1) ** 3 <= 2**layout.log2_table_size)


@pytest.mark.parametrize(
    "arguments", [{"num_levels": 0}, {"base_resolution": 200}, {"log2_table_size": 31}, {"features": 0}]
)
def test_hashgrid_layout_rejects_invalid_sizes(arguments):
    with pytest.raises(ValueError, match="must"):
        HashGridLayout(**arguments)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_hashgrid_equals_the_naive_reference(layout, backend):
    x, table = problem(layout, n=9)
    x = x.clamp(0, 1)
    expected = torch.stack([hashgrid_one_point(point, table, layout) for point in x])
    # float32 keeps 1e-7 of a coordinate, times the cells of the finest level
    tolerance = 1e-6 * layout.resolutions[-1]
    torch.testing.assert_close(hashgrid(x, table, layout, backend), expected, atol=tolerance, rtol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_hashgrid_backends_agree(layout):
    results = []
    for backend in BACKENDS:
        x, table = (t.requires_grad_() for t in problem(layout))
        out = hashgrid(x, table, layout, backend)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        results.append((out.detach(), x.grad, table.grad))
    for reference, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, reference, atol=2e-4 * reference.abs().max().item(), rtol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_hashgrid_gradient_of_points_is_the_slope(backend):
    layout = HashGridLayout(num_levels=2, features=2, log2_table_size=10, base_resolution=3, max_resolution=6)
    x, table = problem(layout, n=400)
    x = x.clamp(0.02, 0.98).requires_grad_()
    hashgrid(x, table, layout, backend).sum().backward()
    h = 1e-3
    for axis in range(3):
        shift = torch.zeros(3)
        shift[axis] = h
        # a cell's border is a kink: skip the points next to one
        inside = torch.stack([((x * n) % 1 - 0.5).abs().amax(-1) < 0.49 for n in (3, 6)]).all(0)
        up = hashgrid(x.detach() + shift, table, layout, backend).sum(-1)
        down = hashgrid(x.detach() - shift, table, layout, backend).sum(-1)
        slope = (up - down) / (2 * h)
        torch.testing.assert_close(x.grad[inside, axis], slope[inside], atol=0.02, rtol=1e-2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_hashgrid_reproduces_linear_functions(backend):
    """Trilinear interpolation is exact on linear functions where no vertex is hashed."""
    layout = HashGridLayout(num_levels=1, features=1, log2_table_size=12, base_resolution=7, max_resolution=7)
    side = torch.arange(8) / 7
    z, y, x = torch.meshgrid(side, side, side, indexing="ij")
    table = (2 * x - 3 * y + 0.5 * z).reshape(-1, 1)
    points, _ = problem(layout, n=64)
    points = points.clamp(0, 1)
    expected = points @ torch.tensor([[2.0], [-3.0], [0.5]])
    torch.testing.assert_close(hashgrid(points, table, layout, backend), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_hashgrid_clamps_points_outside_without_gradient(backend):
    layout = LAYOUTS[1]
    _, table = problem(layout)
    outside = torch.tensor([[-0.5, 0.3, 0.6], [0.2, 7.0, 0.1], [float("nan"), 0.5, 0.5]]).requires_grad_()
    edge = torch.tensor([[0.0, 0.3, 0.6], [0.2, 1.0, 0.1], [0.0, 0.5, 0.5]])
    out = hashgrid(outside, table, layout, backend)
    torch.testing.assert_close(out.detach(), hashgrid(edge, table, layout, backend))
    out.sum().backward()
    assert outside.grad[0, 0] == outside.grad[1, 1] == outside.grad[2, 0] == 0
    assert outside.grad[0, 1] != 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_hashgrid_of_no_points(backend):
    layout = LAYOUTS[0]
    table = torch.zeros(layout.num_rows, layout.features, requires_grad=True)
    out = hashgrid(torch.empty(0, 3), table, layout, backend)
    assert out.shape == (0, layout.output_dim)
    out.sum().backward()
    assert table.grad.abs().sum() == 0


def test_hashgrid_numba_is_the_same_on_any_number_of_threads():
    layout = LAYOUTS[0]
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            x, table = (t.requires_grad_() for t in problem(layout, n=5000))
            hashgrid(x, table, layout, "numba").square().sum().backward()
            results.append((x.grad, table.grad))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_hashgrid_rejects_wrong_shapes_and_types():
    layout = LAYOUTS[0]
    with pytest.raises(ValueError, match="table of shape"):
        hashgrid(torch.rand(4, 3), torch.zeros(5, 2), layout)
    with pytest.raises(ValueError, match="float32 on the CPU"):
        hashgrid(torch.rand(4, 3).double(), torch.zeros(layout.num_rows, 2), layout, "numba")


def test_hashgrid_auto_uses_torch_for_float64():
    layout = LAYOUTS[1]
    x, table = (t.double() for t in problem(layout, n=5))
    assert hashgrid(x, table, layout).dtype == torch.float64
