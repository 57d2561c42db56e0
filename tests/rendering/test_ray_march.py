"""Ray marching: back ends bit for bit, and properties of the samples."""

from __future__ import annotations

import pytest
import torch

from dreamfusion3d.cameras.orbit import orbit_cameras
from dreamfusion3d.core.backends import has_triton
from dreamfusion3d.rendering.ray_march import march, ray_aabb_intersect

STEP = 2 * 3**0.5 / 128
BACKENDS = ["torch", "numba"]
INTERPRETED = ["triton"] if has_triton() and not torch.cuda.is_available() else []


def rays(size=24):
    origins, directions = orbit_cameras([20.0, 200.0], [10.0, -40.0], height=size, width=size).rays()
    inside = torch.tensor([[0.1, 0.2, 0.0], [0.0, 0.0, 0.0]])
    across = torch.tensor([[0.0, 0.0, 1.0], [0.6, 0.8, 0.0]])
    return torch.cat([origins.reshape(-1, 3), inside]), torch.cat([directions.reshape(-1, 3), across])


def grid(fraction=0.3, resolution=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(resolution, resolution, resolution, generator=generator) < fraction


def run(backend, binary=None, step=STEP, seed=5):
    generator = torch.Generator().manual_seed(seed)
    binary = grid() if binary is None else binary
    return march(*rays(), binary, step_size=step, generator=generator, backend=backend)


@pytest.mark.parametrize("step", [STEP, 0.1, 1.7])
def test_march_backends_return_the_same_bits(step):
    # the interpreter takes seconds for small steps
    backends = BACKENDS + (INTERPRETED if step > STEP else [])
    slow, *others = (run(backend, step=step) for backend in backends)
    assert slow.t_starts.numel() > 100
    for fast in others:
        for name in ("ray_indices", "t_starts", "t_ends", "packed_info"):
            assert torch.equal(getattr(slow, name), getattr(fast, name)), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_march_packs_samples_front_to_back_in_occupied_cells(backend):
    binary, (origins, directions) = grid(), rays()
    samples = run(backend, binary)
    starts, counts = samples.packed_info.unbind(-1)
    assert torch.equal(starts, counts.cumsum(0) - counts)
    assert torch.equal(samples.ray_indices, torch.repeat_interleave(torch.arange(len(counts)), counts))
    same_ray = samples.ray_indices[1:] == samples.ray_indices[:-1]
    gap = samples.t_starts[1:] - samples.t_ends[:-1]
    assert (gap[same_ray] > -1e-5).all()
    torch.testing.assert_close(
        samples.t_ends - samples.t_starts, torch.full_like(samples.t_ends, STEP), atol=1e-6, rtol=1e-4
    )
    points = samples.positions(origins, directions)
    assert points.abs().max() <= 1 + 1e-5
    cells = ((points + 1) * 10).long().clamp(0, 19)
    # a point within rounding of a border may be seen on its other side
    assert binary[cells[:, 0], cells[:, 1], cells[:, 2]].float().mean() > 0.999


@pytest.mark.parametrize("backend", BACKENDS)
def test_march_covers_the_chord(backend):
    near, far = ray_aabb_intersect(*rays())
    samples = run(backend, torch.ones(4, 4, 4, dtype=torch.bool))
    chord = (far - near).clamp(min=0)
    covered = samples.packed_info[:, 1] * STEP
    assert ((covered - chord).abs() <= STEP * 1.001).all()


@pytest.mark.parametrize("backend", BACKENDS + INTERPRETED)
def test_march_with_an_empty_grid_and_no_rays(backend):
    empty = run(backend, torch.zeros(4, 4, 4, dtype=torch.bool))
    assert empty.t_starts.numel() == 0 and empty.packed_info[:, 1].sum() == 0
    none = march(
        torch.empty(0, 3),
        torch.empty(0, 3),
        grid(),
        step_size=STEP,
        generator=torch.Generator().manual_seed(0),
        backend=backend,
    )
    assert none.packed_info.shape == (0, 2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_march_with_a_zero_direction_ends(backend):
    samples = march(
        torch.zeros(1, 3),
        torch.zeros(1, 3),
        grid(1.0),
        step_size=STEP,
        generator=torch.Generator().manual_seed(0),
        backend=backend,
    )
    assert samples.t_starts.numel() < 200


def test_march_depends_on_its_generator_alone():
    state = torch.random.get_rng_state()
    a, b, other = run("numba", seed=1), run("numba", seed=1), run("numba", seed=2)
    assert torch.equal(a.t_starts, b.t_starts)
    assert a.t_starts.shape != other.t_starts.shape or not torch.equal(a.t_starts, other.t_starts)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_march_rejects_a_step_size_of_zero():
    with pytest.raises(ValueError, match="positive"):
        run("numba", step=0.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_march_on_gpu_equals_torch():
    generator = torch.Generator("cuda").manual_seed(5)
    found = []
    for backend in ("torch", "triton"):
        inputs = [t.cuda() for t in (*rays(64), grid())]
        found.append(march(*inputs, step_size=STEP, generator=generator.manual_seed(5), backend=backend))
    for name in ("ray_indices", "t_starts", "t_ends", "packed_info"):
        assert torch.equal(*(getattr(samples, name) for samples in found)), name
