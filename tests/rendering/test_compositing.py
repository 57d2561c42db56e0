"""Compositing: back ends against nerfacc's batched functions and against the opacity."""

from __future__ import annotations

import pytest
import torch

from dreamfusion3d.core.backends import has_triton
from dreamfusion3d.rendering.compositing import accumulate, compositing_weights
from dreamfusion3d.rendering.ray_march import Samples
from tests.support.reference import weights_one_ray

BACKENDS = ["torch", "numba", *(["triton"] if has_triton() and not torch.cuda.is_available() else [])]


def batched(rays=7, steps=9, seed=0):
    """The same intervals as (rays, steps) tensors and packed."""
    generator = torch.Generator().manual_seed(seed)
    edges = torch.rand(rays, steps + 1, generator=generator).cumsum(-1)
    density = torch.rand(rays, steps, generator=generator) * 3
    values = torch.rand(rays, steps, 3, generator=generator)
    starts, ends = edges[:, :-1], edges[:, 1:]
    info = torch.stack([torch.arange(rays) * steps, torch.full((rays,), steps)], -1)
    samples = Samples(
        torch.arange(rays).repeat_interleave(steps), starts.flatten().clone(), ends.flatten().clone(), info
    )
    return starts, ends, density, values, samples


@pytest.mark.parametrize("backend", BACKENDS)
def test_compositing_equals_nerfacc(backend):
    from nerfacc import accumulate_along_rays, render_weight_from_density

    starts, ends, density, values, samples = batched()
    cotangent = torch.linspace(-1, 1, 21).view(7, 3)

    theirs = density.clone().requires_grad_(), values.clone().requires_grad_()
    weight, _, _ = render_weight_from_density(starts, ends, theirs[0])
    expected = accumulate_along_rays(weight, theirs[1])
    (expected * cotangent).sum().backward()

    ours = density.flatten().requires_grad_(), values.reshape(-1, 3).requires_grad_()
    packed = compositing_weights(ours[0], samples, backend)
    out = accumulate(packed, ours[1], samples.ray_indices, 7, backend)
    (out * cotangent).sum().backward()

    torch.testing.assert_close(packed, weight.flatten(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours[0].grad, theirs[0].grad.flatten(), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(ours[1].grad, theirs[1].grad.reshape(-1, 3), rtol=1e-4, atol=1e-6)


def ragged(seed=0):
    """Rays of 0, 1, 30, 0 and 200 samples."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.tensor([0, 1, 30, 0, 200])
    lengths = torch.rand(int(counts.sum()), generator=generator) * 0.05
    starts = lengths.cumsum(0)
    info = torch.stack([counts.cumsum(0) - counts, counts], -1)
    samples = Samples(torch.repeat_interleave(torch.arange(5), counts), starts, starts + lengths, info)
    density = torch.rand(lengths.shape, generator=generator) * 20
    return density, samples


@pytest.mark.parametrize("backend", BACKENDS)
def test_compositing_weights_sum_to_opacity(backend):
    density, samples = ragged()
    weight = compositing_weights(density, samples, backend)
    opacity = accumulate(weight, torch.ones(231, 1), samples.ray_indices, 5, backend)[:, 0]
    optical_depth = torch.zeros(5).index_add(0, samples.ray_indices, density * (samples.t_ends - samples.t_starts))
    torch.testing.assert_close(opacity, 1 - torch.exp(-optical_depth), rtol=1e-4, atol=1e-6)
    assert (weight >= 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_compositing_weights_equal_the_naive_reference(backend):
    density, samples = ragged()
    weight = compositing_weights(density, samples, backend)
    for start, count in samples.packed_info.tolist():
        if count:
            part = slice(start, start + count)
            expected = weights_one_ray(density[part], (samples.t_ends - samples.t_starts)[part])
            torch.testing.assert_close(weight[part], expected, rtol=1e-3, atol=1e-6)


def test_compositing_weights_backends_agree_on_gradients():
    density, samples = ragged()
    cotangent = torch.linspace(-2, 2, 231)
    gradients = []
    for backend in BACKENDS:
        leaf = density.clone().requires_grad_()
        (compositing_weights(leaf, samples, backend) * cotangent).sum().backward()
        gradients.append(leaf.grad)
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_compositing_weights_stay_finite(backend):
    _, samples = ragged()
    density = torch.zeros(231)
    density[::3] = 1e9
    leaf = density.requires_grad_()
    weight = compositing_weights(leaf, samples, backend)
    weight.square().sum().backward()
    assert torch.isfinite(weight).all() and torch.isfinite(leaf.grad).all()
    assert weight.max() <= 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_compositing_of_no_samples(backend):
    none = torch.empty(0)
    samples = Samples(torch.empty(0, dtype=torch.int64), none, none, torch.zeros(3, 2, dtype=torch.int64))
    density = torch.empty(0, requires_grad=True)
    out = accumulate(compositing_weights(density, samples, backend), torch.empty(0, 2), samples.ray_indices, 3, backend)
    assert torch.equal(out, torch.zeros(3, 2))
    out.sum().backward()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_compositing_weights_on_gpu_equal_torch():
    density, samples = ragged()
    names = ("ray_indices", "t_starts", "t_ends", "packed_info")
    on_gpu = Samples(*(getattr(samples, name).cuda() for name in names))
    results = []
    for backend in ("torch", "triton"):
        leaf = density.cuda().requires_grad_()
        weight = compositing_weights(leaf, on_gpu, backend)
        (weight * torch.linspace(-2, 2, 231, device="cuda")).sum().backward()
        results.append((weight.detach(), leaf.grad))
    for slow, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-3, atol=1e-6)
