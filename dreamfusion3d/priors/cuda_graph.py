"""A frozen network as a CUDA graph: recorded once, then started by one call instead of thousands.

A denoising network is some thousands of small kernels; where the host is slower at starting them than the
GPU at computing them, the GPU waits. A graph keeps the addresses of all tensors, so what a call is given is
copied to where the recorded one was given it, and the answer is copied out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

MOST = 4  # graphs, one for each form of a call; calls of further forms run as ever
WARM_UP = 2  # runs before the recording: libraries choose and allocate at their first


@dataclass(frozen=True)
class Sample:
    """What is read of diffusers' answers."""

    sample: Tensor


Record = Callable[[Callable[[], Tensor]], tuple[Tensor, Callable[[], object]]]


@dataclass(frozen=True)
class _Graph:
    given: list[Tensor]
    answer: Tensor
    replay: Callable[[], object]


def record(run: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], object]]:
    """``run``'s kernels on the current device: where their answer will lie, and what starts them."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    # what other threads ask of the device meanwhile, such as a preview's pixels, is no part of it
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        answer = run()
    return answer, graph.replay


class Captured:
    """Stands in for a frozen ``module`` whose answer has a ``sample``. Anything but its call is the module's.

    ``state``: what besides its arguments a call depends on, such as the number of views that its attention
    joins. Calls that want gradients, or whose tensors are not on a GPU, run as ever.
    """

    def __init__(
        self, module: Any, state: Callable[[], object] = lambda: None, record: Record = record,
        devices: tuple[str, ...] = ("cuda",),
    ) -> None:
        self.module = module
        self._state, self._record, self._devices = state, record, devices
        self._graphs: dict[object, _Graph] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Sample:
        leaves, form = pytree.tree_flatten((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if torch.is_grad_enabled() or not all(t.device.type in self._devices for t in tensors):
            return Sample(self.module(*args, **kwargs).sample)
        key = str(form), self._state(), torch.is_autocast_enabled(), tuple(
            (leaf.shape, leaf.dtype, leaf.device) if isinstance(leaf, Tensor) else leaf for leaf in leaves
        )
        if key not in self._graphs:
            if len(self._graphs) == MOST:
                return Sample(self.module(*args, **kwargs).sample)
            self._graphs[key] = self._recorded(leaves, form)
        graph = self._graphs[key]
        for place, tensor in zip(graph.given, tensors, strict=True):
            place.copy_(tensor)
        graph.replay()
        return Sample(graph.answer.clone())

    def _recorded(self, leaves: list[Any], form: Any) -> _Graph:
        # clones keep channels_last, for which the network's kernels are chosen
        places = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        args, kwargs = pytree.tree_unflatten(places, form)
        answer, replay = self._record(lambda: self.module(*args, **kwargs).sample)
        return _Graph([place for place in places if isinstance(place, Tensor)], answer, replay)
