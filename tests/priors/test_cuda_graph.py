"""A network as a graph gives what the network gives, whatever it is called with."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from dreamfusion3d.priors.cuda_graph import MAX_GRAPHS, CudaGraphModule, SampleOutput


class Network(torch.nn.Module):
    """Depends on all that it is given, and on what it is told apart from that."""

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


def fake(run):
    """What a graph does: it computes again from the same places to the same place, and no Python runs."""
    answer = run()

    def replay():
        runs = fake.network.runs
        answer.copy_(run())
        fake.network.runs = runs

    return answer, replay


def calls(device="cpu"):
    generator = torch.Generator().manual_seed(0)

    def number(*shape):
        return torch.randn(shape, generator=generator).to(device)

    for batch in (2, 4, 2):
        yield (number(batch, 3, 8, 8), number(batch)), {}
        yield (number(batch, 3, 8, 8), number(batch)), {"text": number(batch, 5)}
        yield (number(batch, 3, 8, 8), number(batch)), {"added": {"time_ids": number(6), "scale": batch}}


@torch.no_grad()
def test_it_answers_as_the_network():
    network = fake.network = Network()
    captured = CudaGraphModule(network, lambda: network.views, fake, ("cpu",))
    before = []
    for views in (1, 2):
        network.views = views
        for args, kwargs in calls():
            answer = captured(*args, **kwargs).sample
            before.append((answer, answer.clone()))
            assert torch.equal(answer, network(*args, **kwargs).sample)
    # an answer is the caller's: later calls leave it as it is
    assert all(torch.equal(one, other) for one, other in before)
    assert captured.layer is network.layer


@torch.no_grad()
def test_a_form_is_recorded_once_and_not_more_than_a_few():
    network = fake.network = Network()
    captured = CudaGraphModule(network, capture=fake, devices=("cpu",))
    for _ in range(3):
        captured(torch.zeros(1, 3, 8, 8), torch.zeros(1))
    assert network.runs == 1
    for size in range(2, 10):
        captured(torch.zeros(1, 3, size, size), torch.zeros(1))
    runs = network.runs
    captured(torch.zeros(1, 3, 9, 9), torch.zeros(1))
    assert network.runs == runs + 1  # by itself: there are graphs enough
    assert len(captured._graphs) == MAX_GRAPHS


def test_gradients_pass_the_network_itself():
    network = fake.network = Network()
    x = torch.ones(1, 3, 8, 8, requires_grad=True)
    CudaGraphModule(network, capture=fake, devices=("cpu",))(x, torch.ones(1)).sample.sum().backward()
    assert x.grad is not None and x.grad.any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@torch.no_grad()
def test_on_a_gpu_the_graph_answers_as_the_network():
    network = Network().cuda()
    captured = CudaGraphModule(network)
    for args, kwargs in (*calls("cuda"), *calls("cuda")):
        torch.testing.assert_close(captured(*args, **kwargs).sample, network(*args, **kwargs).sample)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@torch.no_grad()
def test_a_graph_is_captured_while_another_thread_fetches_pictures():
    """As previews do (``previews.py``)."""
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
