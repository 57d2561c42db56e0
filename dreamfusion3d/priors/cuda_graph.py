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

MAX_GRAPHS = 4  # graphs, one for each form of a call; calls of further forms run as ever
WARMUP_RUNS = 2  # runs before the recording: libraries choose and allocate at their first


@dataclass(frozen=True)
class SampleOutput:
    """What is read of diffusers' answers."""

    sample: Tensor


CaptureFunction = Callable[[Callable[[], Tensor]], tuple[Tensor, Callable[[], object]]]


@dataclass(frozen=True)
class _CapturedGraph:
    inputs: list[Tensor]
    output: Tensor
    replay: Callable[[], object]


def capture_graph(run: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], object]]:
    """``run``'s kernels on the current device: where their answer will lie, and what starts them."""
    side_stream = torch.cuda.Stream()
    side_stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side_stream):
        for _ in range(WARMUP_RUNS):
            run()
    torch.cuda.current_stream().wait_stream(side_stream)
    graph = torch.cuda.CUDAGraph()
    # what other threads ask of the device meanwhile, such as a preview's pixels, is no part of it
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        output = run()
    return output, graph.replay


class CudaGraphModule:
    """Stands in for a frozen ``module`` whose answer has a ``sample``. Anything but its call is the module's.

    ``state``: what besides its arguments a call depends on, such as the number of views that its attention
    joins. Calls that want gradients, or whose tensors are not on a GPU, run as ever.
    """

    def __init__(
        self,
        module: Any,
        extra_key: Callable[[], object] = lambda: None,
        capture: CaptureFunction = capture_graph,
        devices: tuple[str, ...] = ("cuda",),
    ) -> None:
        self.module = module
        self._extra_key, self._capture, self._devices = extra_key, capture, devices
        self._graphs: dict[object, _CapturedGraph] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    def __call__(self, *args: Any, **kwargs: Any) -> SampleOutput:
        leaves, treespec = pytree.tree_flatten((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if torch.is_grad_enabled() or not all(t.device.type in self._devices for t in tensors):
            return SampleOutput(self.module(*args, **kwargs).sample)
        key = (
            str(treespec),
            self._extra_key(),
            torch.is_autocast_enabled(),
            tuple((leaf.shape, leaf.dtype, leaf.device) if isinstance(leaf, Tensor) else leaf for leaf in leaves),
        )
        if key not in self._graphs:
            if len(self._graphs) == MAX_GRAPHS:
                return SampleOutput(self.module(*args, **kwargs).sample)
            self._graphs[key] = self._capture_call(leaves, treespec)
        graph = self._graphs[key]
        for static_input, tensor in zip(graph.inputs, tensors, strict=True):
            static_input.copy_(tensor)
        graph.replay()
        return SampleOutput(graph.output.clone())

    def _capture_call(self, leaves: list[Any], treespec: Any) -> _CapturedGraph:
        # clones keep channels_last, for which the network's kernels are chosen
        static_leaves = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        args, kwargs = pytree.tree_unflatten(static_leaves, treespec)
        output, replay = self._capture(lambda: self.module(*args, **kwargs).sample)
        return _CapturedGraph(
            [static_leaf for static_leaf in static_leaves if isinstance(static_leaf, Tensor)], output, replay
        )
