"""The hash grid in Triton against the torch reference: interpreted on the CPU, and on a GPU."""

from __future__ import annotations

import pytest
import torch

from dreamfusion3d.fields.hashgrid import hashgrid
from dreamfusion3d.fields.hashgrid.layout import HashGridLayout

pytest.importorskip("triton", reason="Triton needs Linux")

LAYOUTS = [
    HashGridLayout(num_levels=4, features=2, log2_table_size=12, base_resolution=4, max_resolution=64),
    HashGridLayout(num_levels=3, features=1, log2_table_size=8, base_resolution=2, max_resolution=40),
    HashGridLayout(num_levels=2, features=4, log2_table_size=14, base_resolution=16, max_resolution=2048),
]


def problem(layout, dtype, device="cpu", n=300):
    """Points of more than one program, some outside the box and one with a NaN."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(n, 3, generator=generator) * 1.2 - 0.1
    x[0, 1] = float("nan")
    table = torch.randn(layout.num_rows, layout.features, generator=generator).to(dtype)
    return x.to(device), table.to(device)


def values_and_gradients(layout, dtype, backend, device="cpu", n=300, **options):
    x, table = (t.requires_grad_() for t in problem(layout, dtype, device, n))
    out = hashgrid(x, table, layout, backend, **options)
    (out * torch.linspace(-1, 1, out.numel(), device=device).view_as(out)).sum().backward()
    return out.detach(), x.grad, table.grad.float()


def agree(layout, dtype, device="cpu", n=300):
    # torch sums the gradients of a float16 table in float16, Triton in float32; and a row of the coarsest
    # level sums tens of thousands of points, in any order on a GPU
    close = 1e-2 if dtype != torch.float32 else 1e-5 if device == "cpu" else 2e-4
    expected = values_and_gradients(layout, dtype, "torch", device, n)
    found = values_and_gradients(layout, dtype, "triton", device, n)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other.to(one), atol=close * float(other.abs().max()), rtol=close)


@pytest.mark.skipif(torch.cuda.is_available(), reason="compiled kernels are tested on the GPU")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_interpreted_hashgrid_triton_equals_torch(layout):
    agree(layout, torch.float32)


@pytest.mark.skipif(torch.cuda.is_available(), reason="compiled kernels are tested on the GPU")
def test_hashgrid_triton_reads_float16_tables():
    agree(LAYOUTS[0], torch.float16)


def half_precision_grads_agree(layout, factor, device="cpu", n=300):
    """Gradients of any size agree, because they are scaled before they are rounded."""
    sums = []
    for half in (False, True):
        x, table = problem(layout, torch.float32, device, n)
        table.requires_grad_()
        out = hashgrid(x, table, layout, "triton", half_precision_grads=half)
        (out * torch.linspace(-factor, factor, out.numel(), device=device).view_as(out)).sum().backward()
        sums.append(table.grad)
    exact, found = sums
    assert found.dtype == torch.float32
    assert not torch.equal(found, exact)  # they were summed in float16
    torch.testing.assert_close(found, exact, atol=2e-3 * float(exact.abs().max()), rtol=2e-2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="compiled kernels are tested on the GPU")
@pytest.mark.parametrize("factor", [1e-7, 1.0, 1e6])
def test_half_precision_grads(factor):
    half_precision_grads_agree(LAYOUTS[0], factor)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("factor", [1e-7, 1.0, 1e6])
def test_half_precision_grads_on_gpu(factor):
    half_precision_grads_agree(LAYOUTS[0], factor, "cuda", n=100_000)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_hashgrid_triton_on_gpu_equals_torch(layout, dtype):
    agree(layout, dtype, "cuda", n=100_000)


def test_hashgrid_triton_of_no_points():
    table = torch.zeros(LAYOUTS[0].num_rows, 2, requires_grad=True)
    out = hashgrid(torch.empty(0, 3), table, LAYOUTS[0], "triton")
    assert out.shape == (0, LAYOUTS[0].output_dim)
    out.sum().backward()
    assert table.grad.abs().max() == 0


def test_hashgrid_triton_rejects_unsupported_inputs():
    odd = HashGridLayout(num_levels=1, features=3, base_resolution=2, max_resolution=2)
    with pytest.raises(ValueError, match="features"):
        hashgrid(torch.rand(4, 3), torch.zeros(odd.num_rows, 3), odd, "triton")
    with pytest.raises(ValueError, match="float32"):
        hashgrid(torch.rand(4, 3).double(), torch.zeros(LAYOUTS[0].num_rows, 2), LAYOUTS[0], "triton")
