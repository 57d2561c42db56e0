"""Run a chain of blocks with activation checkpointing by a schedule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dreamfusion3d.memory.checkpoint_plan import RecomputeSchedule

Activations = dict[str, Tensor]  # the named tensors between two blocks


@dataclass(frozen=True)
class Block:
    """A function from named tensors to further ones; ``consumes`` names inputs that no later block needs.

    A block may run more than once, so it must not draw random numbers.
    """

    name: str
    run: Callable[[Activations], Activations]
    consumes: tuple[str, ...] = ()

    def __call__(self, state: Activations) -> Activations:
        outputs = self.run(state)
        return {**{name: value for name, value in state.items() if name not in self.consumes}, **outputs}


def run_checkpointed(blocks: Sequence[Block], schedule: RecomputeSchedule, state: Activations) -> Activations:
    """Return the activations after all blocks of ``schedule``; gradients equal those of running them in turn."""
    for node in schedule:
        if isinstance(node, int):
            state = blocks[node](state)
        else:
            state = _recompute_stretch(blocks, node, state)
    return state


def _recompute_stretch(blocks: Sequence[Block], schedule: RecomputeSchedule, state: Activations) -> Activations:
    """Run a stretch of which only the input is saved.

    Tensors are passed one by one: a nested stretch would hold those within a dict while the outer one is not saved.
    """
    names = list(state)

    def run(*values: Tensor) -> Activations:
        return run_checkpointed(blocks, schedule, dict(zip(names, values, strict=True)))

    # blocks draw no random numbers, so there is no generator state to preserve
    return checkpoint(run, *state.values(), use_reentrant=False, preserve_rng_state=False)
