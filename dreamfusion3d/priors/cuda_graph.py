"""CUDA graphs of a frozen network: captured once per input signature, then replayed by a single launch.

A denoising network launches thousands of small kernels; if the host launches them more slowly than the GPU runs
them, the GPU idles. A graph fixes the addresses of all tensors, so inputs are copied into static buffers before
the replay and the output is cloned after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

MAX_GRAPHS = 4  # one per input signature; further signatures run without a graph
WARMUP_RUNS = 2  # before the capture: libraries choose algorithms and allocate in their first runs


@dataclass(frozen=True)
class SampleOutput:
    """The part of diffusers' model outputs that is used here."""

    sample: Tensor


CaptureFunction = Callable[[Callable[[], Tensor]], tuple[Tensor, Callable[[], object]]]


@dataclass(frozen=True)
class _CapturedGraph:
    inputs: list[Tensor]
    output: Tensor
    replay: Callable[[], object]


def capture_graph(run: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], object]]:
    """Capture the kernels of ``run`` on the current device; returns their static output and the replay function."""
    side_stream = torch.cuda.Stream()
    side_stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side_stream):
        for _ in range(WARMUP_RUNS):
            run()
    torch.cuda.current_stream().wait_stream(side_stream)
    graph = torch.cuda.CUDAGraph()
    # other threads may use the device meanwhile, e.g. to fetch a preview
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        output = run()
    return output, graph.replay


class CudaGraphModule:
    """Wrap a frozen ``module`` whose output has a ``sample``, replaying CUDA graphs when it is called.

    All other attributes are the module's. Calls that need gradients or have tensors outside ``devices`` run the
    module itself.

    Args:
        extra_key: Returns whatever a call depends on besides its arguments, e.g. the number of joint views.
        capture: Captures a graph; a parameter so that tests run without a GPU.
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
        signature = [(leaf.shape, leaf.dtype, leaf.device) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        key = str(treespec), self._extra_key(), torch.is_autocast_enabled(), *signature
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
        # clones keep the channels_last format, which selects the kernels
        static_leaves = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        args, kwargs = pytree.tree_unflatten(static_leaves, treespec)
        output, replay = self._capture(lambda: self.module(*args, **kwargs).sample)
        return _CapturedGraph([leaf for leaf in static_leaves if isinstance(leaf, Tensor)], output, replay)
