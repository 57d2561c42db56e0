"""Backend selection, and the GPU kernels compiled without a GPU."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
import torch

from dreamfusion3d.core.backends import constant_like, fastest_backend, has_triton
from dreamfusion3d.fields.hashgrid import hashgrid
from dreamfusion3d.fields.hashgrid.layout import HashGridLayout


def test_fastest_backend_is_numba_for_float32_on_the_cpu_and_torch_otherwise():
    assert fastest_backend(torch.zeros(1)) == "numba"
    assert fastest_backend(torch.zeros(1, dtype=torch.float64)) == "torch"
    assert fastest_backend(torch.zeros(1, device="meta")) == "torch"
    layout = HashGridLayout(num_levels=1, features=1, base_resolution=2, max_resolution=2)
    halves = torch.rand(layout.num_rows, 1).half()
    x = torch.rand(5, 3)
    assert torch.equal(hashgrid(x, halves, layout), hashgrid(x, halves, layout, "torch"))


def test_constant_like_is_cached_per_dtype():
    double = torch.zeros(1, dtype=torch.float64)
    assert constant_like((0.1, 2.0), double) is constant_like((0.1, 2.0), double[:0])
    assert constant_like((0.1, 2.0), double).tolist() == [0.1, 2.0]
    assert constant_like((0.1, 2.0), double.float()).dtype == torch.float32


# every kernel with the types of its arguments; pointers are aligned to 16 bytes, as torch's are
CROSS_COMPILE = """
import json
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from dreamfusion3d.fields.hashgrid import triton_kernels as grid
from dreamfusion3d.rendering import compositing_triton as composite
from dreamfusion3d.rendering import ray_march_triton as march

F, H, L = "*fp32", "*fp16", "*i64"
ray = dict(origins=F, directions=F, near=F, far=F, jitter=F, grid="*i8", step=F)
sizes = dict(rays="i32", nx="i32", ny="i32", nz="i32")
points = dict(LEVELS=16, FEATURES=2, BLOCK=grid.BLOCK)
rays, packed = dict(BLOCK=march.BLOCK), dict(BLOCK=composite.BLOCK)
kernels = {
    "grid forward": (grid._forward, dict(x=F, table=H, levels=L, out=F, n="i32"), points),
    "grid table": (
        grid._backward_table, dict(x=F, levels=L, grad=F, grad_table=F, n="i32"), dict(points, scale=None),
    ),
    "grid table, halves": (
        grid._backward_table, dict(x=F, levels=L, grad=F, grad_table=H, scale=F, n="i32"), points,
    ),
    "grid points": (grid._backward_x, dict(x=F, table=F, levels=L, grad=F, grad_x=F, n="i32"), points),
    "march count": (march._count, dict(**ray, counts=L, **sizes), rays),
    "march fill": (march._fill, dict(**ray, packed_info=L, ray_indices=L, starts=F, ends=F, **sizes), rays),
    "weights": (
        composite._forward, dict(density=F, lengths=F, packed_info=L, out=F, after=F, rays="i32"), packed,
    ),
    "weights back": (
        composite._backward,
        dict(grad=F, lengths=F, packed_info=L, weights=F, after=F, out=F, rays="i32"), packed,
    ),
}
found = {}
for name, (kernel, types, constants) in kernels.items():
    aligned = {(i,): [["tt.divisibility", 16]] for i, t in enumerate(types.values()) if t[0] == "*"}
    for capability in (80, 90):
        source = ASTSource(
            fn=kernel, signature={**types, **dict.fromkeys(constants, "constexpr")}, constexprs=constants,
            attrs=aligned,
        )
        made = triton.compile(
            source, target=GPUTarget("cuda", capability, 32),
            options={"enable_fp_fusion": not name.startswith("march")},
        )
        found[f"{name} {capability}"] = {"cubin": len(made.asm["cubin"]), "ptx": made.asm["ptx"]}
print(json.dumps(found))
"""


@pytest.mark.skipif(not has_triton(), reason="Triton is made for Linux alone")
def test_triton_kernels_compile_for_absent_gpus(tmp_path):
    """A table row is one load, and on Hopper its gradient one reduction; the ray marcher fuses nothing."""
    result = subprocess.run(
        [sys.executable, "-c", CROSS_COMPILE],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)},
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert len(found) == 16 and all(kernel["cubin"] > 1000 for kernel in found.values())
    for capability in (80, 90):
        # eight corners for two points a lane; two halves are 32 bits
        forward = found[f"grid forward {capability}"]["ptx"]
        assert forward.count("ld.global.b32") >= 16 and "ld.global.b16" not in forward
        assert found[f"grid points {capability}"]["ptx"].count("ld.global.v2.b32") >= 16
        assert "fma" not in found[f"march fill {capability}"]["ptx"]
    # two features in one reduction
    assert found["grid table, halves 80"]["ptx"].count("add.noftz.f16x2") >= 16
    assert re.findall(r"add\.noftz\.(?:f16x2|v2\.f16)", found["grid table, halves 90"]["ptx"])[15:]
    assert found["grid table 90"]["ptx"].count("add.v2.f32") >= 16


def test_has_triton_needs_a_c_compiler(monkeypatch):
    """Without one torch runs on the GPU, instead of an error at the first kernel."""
    has_triton.cache_clear()
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert not has_triton()
    has_triton.cache_clear()


@pytest.mark.parametrize("threads", [1, 2])
def test_follow_torch_threads_keeps_torchs_number_of_threads(threads):
    """numba and torch share OpenMP's threads: starting numba's must not give torch more."""
    program = (
        "import numba, torch\n"
        "from dreamfusion3d.core.runtime import configure_process\n"
        "configure_process()\n"
        "from dreamfusion3d.fields.hashgrid import hashgrid\n"
        "from dreamfusion3d.fields.hashgrid.layout import HashGridLayout\n"
        "layout = HashGridLayout(num_levels=2, log2_table_size=8)\n"
        "hashgrid(torch.rand(5000, 3), torch.zeros(layout.num_rows, 2), layout)\n"
        "print(torch.get_num_threads(), numba.get_num_threads())\n"
    )
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    env.pop("NUMBA_NUM_THREADS", None)
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    expected = min(threads, os.cpu_count() or 1)
    assert output.stdout.split() == [str(threads), str(expected)]
