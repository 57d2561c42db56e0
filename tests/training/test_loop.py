"""The loop beside a plain one; what it reports; and the steps that it takes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.memory.step_plan import StepPlan
from dreamfusion3d.training.checkpoint import OptimizationState
from dreamfusion3d.training.loop import OptimizationLoop, Step, StepLosses, make_field_optimizer
from tests.support.oracle import OraclePrior
from tests.support.training import VSD, NanPrior, distill_oracle, make_field, make_generator

LR_HASHGRID, LR_MLP, NUM_STEPS = 0.1, 0.02, 12


class Model(nn.Module):
    """The least that `make_field_optimizer` takes: a table and an MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.linspace(-1, 1, 8))
        self.mlp = nn.Parameter(torch.linspace(1, 2, 8))


def losses_of(model: Model, generator: torch.Generator) -> dict[str, Tensor]:
    target = torch.rand(8, generator=generator)
    return {
        "fit": (model.table * model.mlp - target).square().mean(),
        "decay": 0.1 * model.table.square().mean(),
        "sum": 0.01 * model.mlp.sum(),
    }


def half_at_the_end(progress: float) -> float:
    return 1 - 0.5 * progress


def plain_loop(model: Model, generator: torch.Generator) -> Iterator[float]:
    """Slow, obvious twin of `OptimizationLoop`; yields the total loss of each step."""
    optimizer = torch.optim.Adam([{"params": [model.table]}, {"params": [model.mlp]}], betas=(0.9, 0.99), eps=1e-15)
    for step in range(NUM_STEPS):
        factor = half_at_the_end(step / (NUM_STEPS - 1))
        optimizer.param_groups[0]["lr"] = LR_HASHGRID * factor
        optimizer.param_groups[1]["lr"] = LR_MLP * factor
        total = sum(losses_of(model, generator).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        yield float(total.detach())


def run_loop(model: Model, generator: torch.Generator, *, fused: bool = False) -> list[Step]:
    optimizer = make_field_optimizer(model, LR_HASHGRID, LR_MLP, fused=fused)
    state = OptimizationState(model, optimizer, None, generator)
    loop = OptimizationLoop(state, NUM_STEPS, lr_schedule=half_at_the_end, lr_setting="optim.lr_hashgrid")

    def compute_losses(plan: StepPlan) -> StepLosses:
        return StepLosses(losses_of(model, generator))

    return [loop.update(compute_losses) for _ in loop.steps()]


def test_optimization_loop_takes_the_steps_of_a_plain_loop() -> None:
    model, twin = Model(), Model()
    steps, totals = run_loop(model, make_generator()), list(plain_loop(twin, make_generator()))
    assert [step.index for step in steps] == list(range(1, len(totals) + 1))
    assert torch.equal(model.table, twin.table) and torch.equal(model.mlp, twin.mlp)


def test_step_losses_sum_to_what_was_differentiated() -> None:
    steps, totals = run_loop(Model(), make_generator()), list(plain_loop(Model(), make_generator()))
    assert [list(step.losses) for step in steps] == [["fit", "decay", "sum"]] * NUM_STEPS
    assert [sum(step.losses.values()) for step in steps] == pytest.approx(totals, rel=1e-6)
    model, generator = Model(), make_generator()
    sum(losses_of(model, generator).values()).backward()
    norm = torch.cat([model.table.grad, model.mlp.grad]).norm()
    assert steps[0].gradient_norm == pytest.approx(float(norm), rel=1e-6)


def test_step_losses_are_a_step_late_where_the_host_runs_ahead() -> None:
    prompt, late = run_loop(Model(), make_generator()), run_loop(Model(), make_generator(), fused=True)
    for values in zip(late[0].losses.values(), prompt[0].losses.values(), strict=True):
        assert values[0] == pytest.approx(values[1], rel=1e-5)
    for step, previous in zip(late[1:], prompt, strict=False):
        assert step.losses == pytest.approx(previous.losses, rel=1e-4)
    assert [s.gradient_norm for s in late[1:-1]] == pytest.approx([s.gradient_norm for s in prompt[:-2]], rel=1e-4)
    assert late[-1].gradient_norm == pytest.approx(prompt[-1].gradient_norm, rel=1e-4), "the last waits for its own"


def test_optimization_loop_goes_back_after_a_non_finite_gradient(oracle_prior: OraclePrior) -> None:
    field = make_field()
    steps = list(distill_oracle(NanPrior(oracle_prior, {5}), field, steps=8, checkpoint_every=3))
    assert [s.index for s in steps] == [1, 2, 3, 4, 3, 4, 5, 6, 7, 8]
    warnings = [s.warning for s in steps if s.warning]
    assert warnings == ["non-finite gradient in step 5; went back to step 3"]
    assert all(torch.isfinite(p).all() for p in field.parameters())


def test_optimization_loop_gives_up_on_a_prior_that_stays_non_finite(oracle_prior: OraclePrior) -> None:
    with pytest.raises(InputError, match="gave up after 6 non-finite gradients.* lower optim.lr_hashgrid"):
        list(distill_oracle(NanPrior(oracle_prior, set(range(100))), make_field(), steps=8))


def test_optimization_loop_takes_back_what_vsd_learned(oracle_prior: OraclePrior) -> None:
    field, prior = make_field(), NanPrior(oracle_prior, {1, 5})
    steps = list(distill_oracle(prior, field, steps=6, overrides=VSD, checkpoint_every=3))
    assert [s.index for s in steps] == [0, 1, 2, 3, 3, 4, 5, 6]
    assert all(torch.isfinite(p).all() for p in field.parameters())
