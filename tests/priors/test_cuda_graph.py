"""A CUDA graph returns what its network returns, for any inputs."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from dreamfusion3d.priors.cuda_graph import MAX_GRAPHS, CudaGraphModule, SampleOutput


class Network(torch.nn.Module):
    """Depends on all of its inputs, and on ``views`` besides."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 3, 3, padding=1)
        self.views, self.runs = 1, 0

    def forward(self, x, t, *, text=None, added=None):
        self.runs += 1
        out = self.layer(x) * t.view(-1, 1, 1, 1) * self.views
        if text is not None:
            out = out + text.mean()
        if added is not None:
            out = out + added["time_ids"].sum() * added["scale"]
        return SampleOutput(out)


def fake_capture(run):
    """Mimic a graph: a replay computes from the same buffers into the same buffer, and runs no Python."""
    output = run()

    def replay():
        runs = fake_capture.network.runs
        output.copy_(run())
        fake_capture.network.runs = runs

    return output, replay


def example_calls(device="cpu"):
    generator = torch.Generator().manual_seed(0)

    def number(*shape):
        return torch.randn(shape, generator=generator).to(device)

    for batch in (2, 4, 2):
        yield (number(batch, 3, 8, 8), number(batch)), {}
        yield (number(batch, 3, 8, 8), number(batch)), {"text": number(batch, 5)}
        yield (number(batch, 3, 8, 8), number(batch)), {"added": {"time_ids": number(6), "scale": batch}}


@torch.no_grad()
def test_cuda_graph_module_returns_the_networks_output():
    network = fake_capture.network = Network()
    captured = CudaGraphModule(network, lambda: network.views, fake_capture, ("cpu",))
    before = []
    for views in (1, 2):
        network.views = views
        for args, kwargs in example_calls():
            output = captured(*args, **kwargs).sample
            before.append((output, output.clone()))
            assert torch.equal(output, network(*args, **kwargs).sample)
    # outputs belong to the caller: later calls do not overwrite them
    assert all(torch.equal(one, other) for one, other in before)
    assert captured.layer is network.layer


@torch.no_grad()
def test_cuda_graph_module_captures_a_signature_once_and_limits_graphs():
    network = fake_capture.network = Network()
    captured = CudaGraphModule(network, capture=fake_capture, devices=("cpu",))
    for _ in range(3):
        captured(torch.zeros(1, 3, 8, 8), torch.zeros(1))
    assert network.runs == 1
    for size in range(2, 10):
        captured(torch.zeros(1, 3, size, size), torch.zeros(1))
    runs = network.runs
    captured(torch.zeros(1, 3, 9, 9), torch.zeros(1))
    assert network.runs == runs + 1  # without a graph: the limit is reached
    assert len(captured._graphs) == MAX_GRAPHS


def test_cuda_graph_module_with_gradients_runs_the_network():
    network = fake_capture.network = Network()
    x = torch.ones(1, 3, 8, 8, requires_grad=True)
    CudaGraphModule(network, capture=fake_capture, devices=("cpu",))(x, torch.ones(1)).sample.sum().backward()
    assert x.grad is not None and x.grad.any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@torch.no_grad()
def test_cuda_graph_module_on_a_gpu():
    network = Network().cuda()
    captured = CudaGraphModule(network)
    for args, kwargs in (*example_calls("cuda"), *example_calls("cuda")):
        torch.testing.assert_close(captured(*args, **kwargs).sample, network(*args, **kwargs).sample)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@torch.no_grad()
def test_capture_graph_while_another_thread_uses_the_device():
    """As previews do."""
    network, over = Network().cuda(), threading.Event()

    def fetch() -> int:
        count = 0
        while not over.is_set():
            count += len(torch.ones(1 << 16, device="cuda").cpu())
        return count

    with ThreadPoolExecutor(1) as pool:
        fetched = pool.submit(fetch)
        try:
            captured = CudaGraphModule(network)
            for size in range(4, 8):
                x, t = torch.randn(2, 3, size, size, device="cuda"), torch.rand(2, device="cuda")
                torch.testing.assert_close(captured(x, t).sample, network(x, t).sample)
        finally:
            over.set()
        assert fetched.result() > 0
