"""Where a step makes the host wait for a GPU: a GPU that waits for the host in turn stands idle."""

from __future__ import annotations

import collections
import itertools
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import dreamfusion3d
from dreamfusion3d.core.async_scalar import AsyncTensor
from dreamfusion3d.core.config import resolve_config
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.pipelines.context import predict_field_init
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.training.distillation import distill_field
from dreamfusion3d.training.loop import Step

PACKAGE = Path(dreamfusion3d.__file__).parent
PROMPT = "a mug"
aten = torch.ops.aten
# On a GPU each of these hands the host a number, or a size that depends on values. A copy from the host to the
# GPU, which may also wait, looks like any other tensor here: that is for the test on a GPU.
SYNCHRONIZING = {
    aten._local_scalar_dense,
    aten.nonzero,
    aten.masked_select,
    aten.equal,
    aten._unique2,
    aten.unique_dim,
    aten.repeat_interleave,
    aten.is_nonzero,
}
# the number of samples and of shaded ones; the gradient's norm, which may skip the step, and the losses
SYNCS_ON_CPU = {"rendering/ray_march": 1, "rendering/shading_budget": 1, "core/async_scalar": 2}
# the ray marcher of a CPU counts at once, but a step early; all else is read of the step before
SYNCS_WITH_RUN_AHEAD = {"rendering/ray_march": 1, "core/async_scalar": 3}


def current_module() -> str:
    """Return the innermost module of the package that is running, without its backend."""
    files = [Path(frame.filename) for frame in traceback.extract_stack()]
    if any(file.parts[-2:-1] == ("optim",) for file in files):
        return "adam"  # counts its steps on the CPU, whatever the device
    inside = [file for file in files if PACKAGE in file.parents]
    name = str(inside[-1].relative_to(PACKAGE).with_suffix("")) if inside else "elsewhere"
    return name.removesuffix("_numba").removesuffix("_triton")


class SyncCounter(TorchDispatchMode):
    """Counts synchronizing operations by module."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_mask = func.overloadpacket in (aten.index, aten.index_put, aten.index_put_) and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if func.overloadpacket in SYNCHRONIZING or by_mask:
            self.counts[current_module()] += 1
        return func(*args, **(kwargs or {}))


def warmed_up_steps(init: str, device: str, *, run_ahead: bool | None = None) -> Iterator[Step]:
    """Return a run after its first steps, which load and compile, and after an update of the occupancy grid."""
    settings = ["render.resolution=16", "render.coarse_resolution=16", "optim.steps=60", "field.log2_table_size=12"]
    config, torch_device = resolve_config("standard", None, settings), torch.device(device)
    prior = load_prior(config.prior, device=torch_device)
    generator = torch.Generator(torch_device).manual_seed(0)
    field_init = predict_field_init(prior, PROMPT, torch_device) if init == "prior" else None
    field = NerfField(config.field, generator=generator, init=field_init)
    prompts = prior.encode_text([PROMPT, ""])
    steps = distill_field(field, prior, prompts, config, generator=generator, run_ahead=run_ahead)
    for _ in range(config.optim.occupancy_update_interval + 2):
        next(steps)
    return steps


def count_syncs(steps: Iterator[Step]) -> dict[str, float]:
    """Return the synchronizing operations per step by module."""
    counter, read = SyncCounter(), AsyncTensor.tolist

    def counted_read(self: AsyncTensor) -> Any:  # reads memory, so that no operation is dispatched
        counter.counts["core/async_scalar"] += self._value is None
        return read(self)

    with counter, mock.patch.object(AsyncTensor, "tolist", counted_read):
        for _ in range(3):
            next(steps)
    del counter.counts["adam"]
    return {name: count / 3 for name, count in counter.counts.items()}


@pytest.mark.parametrize("init", ["prior", "blob"])
def test_distill_field_synchronizes_at_few_places(init: str) -> None:
    assert count_syncs(warmed_up_steps(init, "cpu")) == SYNCS_ON_CPU


@pytest.mark.parametrize("init", ["prior", "blob"])
def test_distill_field_reads_only_values_of_earlier_steps_when_it_runs_ahead(
    init: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a step reads was requested a step ago: a GPU has computed it long since."""
    steps = warmed_up_steps(init, "cpu", run_ahead=True)
    assert count_syncs(steps) == SYNCS_WITH_RUN_AHEAD
    created: list[AsyncTensor] = []
    create, read = AsyncTensor.__init__, AsyncTensor.tolist

    def recording_init(self: AsyncTensor, value: Tensor) -> None:
        created.append(self)
        create(self, value)

    def checked_read(self: AsyncTensor) -> Any:
        assert not any(self is scalar for scalar in created), "a value of this very step"
        return read(self)

    monkeypatch.setattr(AsyncTensor, "__init__", recording_init)
    monkeypatch.setattr(AsyncTensor, "tolist", checked_read)
    for _ in range(3):
        next(steps)
        assert len(created) == 3, "the number of shaded samples, the losses and the gradient's norm"
        created.clear()


def test_sync_counter_counts_synchronizing_operations() -> None:
    x = torch.arange(4.0)
    with SyncCounter() as counter:
        float(x[0])
        x[x > 1]
        torch.nonzero(x)
    assert counter.counts.total() == 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("init", ["prior", "blob"])
def test_distill_field_never_synchronizes_on_a_gpu(init: str) -> None:
    steps = warmed_up_steps(init, "cuda")
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in itertools.islice(steps, 3):
                pass
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not [str(w.message) for w in caught if "synchronizing" in str(w.message)]
