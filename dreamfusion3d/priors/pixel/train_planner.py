"""How a training step is taken in the memory that there is: in how many pieces, and what of them twice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dreamfusion3d.memory import budget as amount
from dreamfusion3d.memory.checkpoint_plan import Chain, Schedule, front, keep_all
from dreamfusion3d.memory.oom_fallback import Ladder, Plan, within
from dreamfusion3d.memory.profiler import measured, scaled
from dreamfusion3d.priors.pixel.losses import draw
from dreamfusion3d.priors.pixel.train_blocks import Lesson, blocks_of
from dreamfusion3d.procedural.dataset import Batch

if TYPE_CHECKING:
    from dreamfusion3d.priors.pixel.train_state import MakeBatch, TrainState

TRIED = (1, 2)  # props of the two steps that are measured


@dataclass(frozen=True)
class Way:
    """``pieces`` of a step, one after another, and what of each is computed again; without a schedule the
    losses are computed as ever (and by the compiled network, where there is one)."""

    pieces: int = 1
    schedule: Schedule | None = None


@dataclass(frozen=True)
class Ladders:
    """Of the two kinds of training steps."""

    pictures: Ladder[Way]
    scene: Ladder[Way]

    def of(self, alone: bool) -> Ladder[Way]:
        return self.scene if alone else self.pictures

    def as_dict(self) -> dict[str, object]:
        return {"pictures": self.pictures.plan.as_dict(), "scene": self.scene.plan.as_dict()}


def unplanned(pictures: int, scene: int, device: torch.device) -> Ladders:
    """Everything at once, and only where memory runs out in twice, four times, ... as many pieces.
    The numbers are props of a step."""
    return Ladders(*(
        Ladder([Plan(Way(pieces), _words(pieces, props)) for pieces in _halvings(props)], device)
        for props in (pictures, scene)
    ))


def _halvings(props: int) -> list[int]:
    doubled = [2**k for k in range(math.ceil(math.log2(props)) if props > 1 else 0)]
    return [*doubled, props]


def planned(
    state: TrainState, make_batch: MakeBatch, budget: int, lessons: dict[bool, Lesson],
    props: dict[bool, int], views: dict[bool, int],
) -> Ladders:
    """The fastest ways that fit ``budget`` bytes, by two small steps of each kind; keys say whether the
    scene learns alone. Raises InputError with the least budget that would do."""
    device = next(state.model.parameters()).device
    taken = amount.held(device) + _still_to_come(state)
    ways = {
        alone: _ways(state, make_batch, lesson, props[alone], views[alone], taken)
        for alone, lesson in lessons.items()
    }
    # the kind that needs most is asked first: its least is what is told
    hardest = sorted(ways, key=lambda alone: -min(plan.peak or 0 for plan in ways[alone]))
    ladders = {alone: Ladder(within(ways[alone], budget, "a training step"), device) for alone in hardest}
    amount.enforce(budget, device)
    return Ladders(ladders[False], ladders[True])


def _still_to_come(state: TrainState) -> int:
    """Gradients, and Adam's two moments where it has none yet."""
    parameters = [p for p in state.model.parameters() if p.requires_grad]
    weights = sum(p.numel() * p.element_size() for p in parameters)
    return weights * (1 if state.optimiser.state else 3)


def _ways(
    state: TrainState, make_batch: MakeBatch, lesson: Lesson, props: int, views: int, taken: int
) -> list[Plan[Way]]:
    """Every number of pieces with every schedule of them that is worth its time."""
    small, large, bytes_a_prop = _tried(state, make_batch, lesson, views)
    held = taken + props * bytes_a_prop
    plans = []
    sizes = sorted({-(-props // pieces) for pieces in range(1, props + 1)})
    for size in sizes:
        pieces = -(-props // size)
        chain = scaled(small, large, TRIED, size)
        for point in front(chain):
            again = _again(point.schedule)
            plans.append(Plan(
                Way(pieces, point.schedule), _words(pieces, props, again, len(chain)),
                int(held + amount.rounded(point.peak, lesson.device)), point.seconds * props / size,
            ))
    return plans


def _tried(
    state: TrainState, make_batch: MakeBatch, lesson: Lesson, views: int
) -> tuple[Chain, Chain, int]:
    """The costs of steps of few props, and how much a prop of a batch takes by itself."""
    parameters = list(state.model.parameters())
    generator = torch.Generator().manual_seed(0)  # of these alone: the run draws what it would
    levels = 0 if lesson.alpha_bar is None or lesson.attention is None else len(lesson.alpha_bar)
    chains, size = [], 0
    for props in TRIED:
        batch = make_batch(props, views, generator)
        drawn = draw(batch, state.config.prompt_dropout, levels, generator=generator, device=lesson.device)
        chains.append(measured(blocks_of(lesson, batch, drawn), {}, lesson.device, parameters))
        size = _bytes(batch) // props
    return chains[0], chains[1], size


def _bytes(batch: Batch) -> int:
    """Of its pictures, its peers and the noise."""
    tensors: list[Tensor] = [batch.pictures, batch.pictures, *batch.peers, *batch.peer_lights]
    tensors += [t for t in (batch.lights, batch.solids) if t is not None]
    return sum(t.numel() * t.element_size() for t in tensors)


def _again(schedule: Schedule) -> int:
    """Blocks that are computed more than once."""
    return sum(0 if isinstance(node, int) else _leaves(node) for node in schedule)


def _leaves(node: Schedule) -> int:
    return sum(1 if isinstance(inner, int) else _leaves(inner) for inner in node)


def _words(pieces: int, props: int, again: int = 0, blocks: int = 0) -> str:
    at_once = f"all {props} props at once"
    if pieces > 1:
        at_once = f"{-(-props // pieces)} of {props} props at a time"
    return f"{at_once}, {again} of {blocks} blocks computed twice" if again else at_once


def everything(way: Way) -> bool:
    """Whether it is the step as it is without a plan."""
    schedule = way.schedule
    return way.pieces == 1 and (schedule is None or schedule == keep_all(len(schedule)))
