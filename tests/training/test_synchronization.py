"""Where a step makes the host wait for a GPU: a GPU that waits for the host in turn stands idle."""

from __future__ import annotations

import collections
import itertools
import traceback
import warnings
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import dreamfusion3d
from dreamfusion3d.core.async_scalar import AsyncScalar
from dreamfusion3d.core.config import resolve_config
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.pipelines.context import predict_field_init
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.training.distillation import distill_field

PACKAGE = Path(dreamfusion3d.__file__).parent
PROMPT = "a mug"
aten = torch.ops.aten
# On a GPU each of these hands the host a number, or a size that only the values tell. What the host hands
# to the GPU, which may also wait, looks like any other tensor here: that is for the test on a GPU.
WAITING = {
    aten._local_scalar_dense,
    aten.nonzero,
    aten.masked_select,
    aten.equal,
    aten._unique2,
    aten.unique_dim,
    aten.repeat_interleave,
    aten.is_nonzero,
}
# the number of samples, of lit ones, and the gradient's norm, which may call a step off
ON_A_CPU = {"render/march": 1, "render/lit": 1, "later": 1}
# The lead's: a CPU's marcher counts at once, a step early; the other two are read of the step before.
WITH_A_LEAD = {"render/march": 1, "later": 2}


def place() -> str:
    """The innermost file of the package, without its back end."""
    files = [Path(frame.filename) for frame in traceback.extract_stack()]
    if any(file.parts[-2:-1] == ("optim",) for file in files):
        return "adam"  # counts its steps on the CPU, whatever the device
    ours = [file for file in files if PACKAGE in file.parents]
    name = str(ours[-1].relative_to(PACKAGE).with_suffix("")) if ours else "elsewhere"
    return name.removesuffix("_numba").removesuffix("_triton")


class Waits(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.places: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        by_mask = func.overloadpacket in (aten.index, aten.index_put, aten.index_put_) and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if func.overloadpacket in WAITING or by_mask:
            self.places[place()] += 1
        return func(*args, **(kwargs or {}))


def steps(start: str, device: str):
    """A run beyond its first steps, which load and compile, up to an update of the occupancy."""
    sets = ["render.resolution=16", "render.coarse_resolution=16", "optim.steps=60", "field.log2_table_size=12"]
    config, place = resolve_config("standard", None, sets), torch.device(device)
    prior = load_prior(config.prior, device=place)
    generator = torch.Generator(place).manual_seed(0)
    begin = predict_field_init(prior, PROMPT, place) if start == "prior" else None
    field = NerfField(config.field, generator=generator, init=begin)
    run = distill_field(field, prior, prior.encode_text([PROMPT, ""]), config, generator=generator)
    for _ in range(config.optim.occupancy_update_interval + 2):
        next(run)
    return run


def counted(run) -> dict[str, float]:
    """Waits of a step, by place."""
    waits = Waits()
    with waits:
        for _ in range(3):
            next(run)
    del waits.places["adam"]
    return {name: count / 3 for name, count in waits.places.items()}


@pytest.mark.parametrize("start", ["prior", "blob"])
def test_a_step_waits_at_few_places(start):
    assert counted(steps(start, "cpu")) == ON_A_CPU


@pytest.mark.parametrize("start", ["prior", "blob"])
def test_with_a_lead_a_step_reads_what_an_earlier_one_left(start, leading, monkeypatch):
    """What a step reads was asked for a step ago: a GPU has it long since."""
    leading()
    run = steps(start, "cpu")
    assert counted(run) == WITH_A_LEAD
    made: list[AsyncScalar] = []
    begin, read = AsyncScalar.__init__, AsyncScalar.read

    def noted(self, number):
        made.append(self)
        begin(self, number)

    def late(self):
        assert not any(self is one for one in made), "a number of this very step"
        return read(self)

    monkeypatch.setattr(AsyncScalar, "__init__", noted)
    monkeypatch.setattr(AsyncScalar, "read", late)
    for _ in range(3):
        next(run)
        assert len(made) == 2
        made.clear()


def test_the_count_sees_what_waits():
    x = torch.arange(4.0)
    with Waits() as waits:
        float(x[0])
        x[x > 1]
        torch.nonzero(x)
    assert waits.places.total() == 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("start", ["prior", "blob"])
def test_on_a_gpu_a_step_never_waits(start):
    run = steps(start, "cuda")
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in itertools.islice(run, 3):
                pass
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not [str(w.message) for w in caught if "synchronizing" in str(w.message)]
