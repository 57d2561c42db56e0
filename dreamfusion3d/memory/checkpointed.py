"""A chain of blocks run as a schedule says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dreamfusion3d.memory.checkpoint_plan import RecomputeSchedule

Activations = dict[str, Tensor]  # what lies between two blocks


@dataclass(frozen=True)
class Block:
    """A function of named tensors, that gives further ones; ``ends`` names those that nobody needs after it.

    What it draws by lot must be drawn before: a block may be run more than once.
    """

    name: str
    run: Callable[[Activations], Activations]
    consumes: tuple[str, ...] = ()

    def __call__(self, state: Activations) -> Activations:
        outputs = self.run(state)
        return {**{name: value for name, value in state.items() if name not in self.consumes}, **outputs}


def run_checkpointed(blocks: Sequence[Block], schedule: RecomputeSchedule, state: Activations) -> Activations:
    """The state after all blocks of ``schedule``; its gradients are those of running them in turn."""
    for node in schedule:
        if isinstance(node, int):
            state = blocks[node](state)
        else:
            state = _recompute_stretch(blocks, node, state)
    return state


def _recompute_stretch(blocks: Sequence[Block], schedule: RecomputeSchedule, state: Activations) -> Activations:
    """A stretch whose input alone is kept.

    Tensors are handed over one by one: those within a dict would be held by a stretch within a stretch
    even while the outer one is not kept.
    """
    names = list(state)

    def run(*values: Tensor) -> Activations:
        return run_checkpointed(blocks, schedule, dict(zip(names, values, strict=True)))

    # no block draws from torch's global generator, so there is no state of it to keep
    return checkpoint(run, *state.values(), use_reentrant=False, preserve_rng_state=False)
