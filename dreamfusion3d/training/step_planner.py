"""Which way of taking a step fits a budget of memory.

All tiles, all groups of views and schedules of the encoder's blocks, and all sizes of a question to the
prior are tried with each other on paper: the parts follow one another, so the peak of a step is that of its
worst part with what is held meanwhile, and its time is the sum of theirs.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from dreamfusion3d.core.config import Config
from dreamfusion3d.core.types import Render
from dreamfusion3d.memory import budget as amount
from dreamfusion3d.memory.checkpoint_plan import _leaves, square_root
from dreamfusion3d.memory.oom_fallback import Ladder, Plan, within
from dreamfusion3d.priors.cfg import scene_of
from dreamfusion3d.priors.pretrained.diffusion_prior import DiffusionPrior
from dreamfusion3d.priors.pretrained.render_encoders import Latents
from dreamfusion3d.priors.protocol import Movable, Prior, Prompts, Weights
from dreamfusion3d.training.guidance_loss import Way, chained
from dreamfusion3d.training.render_profiler import Rendered
from dreamfusion3d.training.render_workload import Pictures
from dreamfusion3d.training.step_profiler import Lesson, Trial


def unplanned(prior: Prior, config: Config, device: torch.device, *, tiled: bool = True) -> Ladder[Way]:
    """Everything at once, and only where memory runs out in ever smaller parts."""
    views = config.optim.views
    scene = scene_of(prior, views if config.guidance.joint_views else 1)
    blank = torch.zeros(1, 8, 8, 3), torch.zeros(1, 8, 8)
    chain = chained(prior, Render(*blank, blank[1]), torch.Generator())
    again = None if chain is None else square_root(len(chain.blocks(slice(0, 1))))
    ways = [Way()]
    ways += [Way(at_once=n, views=v) for n, v in ((views, views), (scene, 1))]
    ways.append(Way(at_once=scene, views=1, schedule=again))
    ways += [Way(tiles, 1, again, scene) for tiles in (4, 16, 64) if tiled]
    if sparable(prior, device) is not None:  # slow, so the last
        ways.append(replace(ways[-1], offload=True))
    if chain is None:
        ways = [Way(way.tiles, at_once=way.at_once, offload=way.offload) for way in ways]
    return Ladder([Plan(way, words(way, views)) for way in dict.fromkeys(ways)], device)


def planned(
    pictures: Pictures, prior: Prior, text: Prompts, config: Config, budget: int, device: torch.device
) -> Ladder[Way]:
    """The fastest ways that fit ``budget`` bytes. Raises InputError with the least that would do."""
    plans = every_plan(pictures, prior, text, config, device, budget)
    ladder = Ladder(within(plans, budget, "a step", spared(prior, config, device)), device)
    amount.enforce(budget, device)
    return ladder


def spared(prior: Prior, config: Config, device: torch.device) -> str:
    """Settings with which a step would need less, for people: what changes the result is theirs to choose."""
    found = ["fewer optim.views", "a smaller render.size"]
    if isinstance(prior, DiffusionPrior):
        if prior.dtype == torch.float32:
            found.append("prior.dtype=bfloat16")
        if isinstance(prior.space, Latents) and config.prior.vae is None:
            found.append("a tiny prior.vae")
    return "less would do with " + " or ".join([", ".join(found[:-1]), found[-1]])


def every_plan(
    pictures: Pictures, prior: Prior, text: Prompts, config: Config, device: torch.device,
    budget: int | None = None,
) -> list[Plan[Way]]:
    """All ways with their predicted peak and time. ``budget``: bytes that the trials should stay below, as
    far as they can."""
    trial = Trial(pictures, prior, text, config, device, budget)
    renders, plans = list(trial.renders()), []
    network = sparable(prior, device)
    spared, crossing = (0, 0.0) if network is None else (network.bytes - network.largest, network.seconds())
    for way, lesson in trial.teachings():
        for render in renders:
            peak = amount.rounded(_peak(render, lesson, way), device)
            for offload in (False, True) if network is not None else (False,):
                whole = Way(render.tiles, way.views, way.schedule, way.at_once, offload)
                needed = trial.held + peak - (spared if offload else 0)
                took = render.seconds + lesson.seconds
                if offload:
                    took += trial.calls(way.at_once) * crossing
                plans.append(Plan(whole, words(whole, trial.views, trial.blocks), int(needed), took))
    return plans


def _peak(render: Rendered, lesson: Lesson, way: Way) -> int:
    """Bytes of a step, whose parts follow one another: pictures, guidance, other losses, and back."""
    # an encoder whose graph is kept goes back when the other losses' gradients are there already
    late = render.gradients if way.views is None else 0
    return max(
        render.making, render.kept + lesson.peak + late, render.kept + lesson.kept + render.losses,
        render.kept + lesson.kept + render.graph, render.backward,
    )


def sparable(prior: Prior, device: torch.device) -> Weights | None:
    """The prior's network, where ``device`` has a memory of its own that would have more room without it."""
    placed = prior.placed if isinstance(prior, Movable) else None
    return placed if placed is not None and device.type == "cuda" and placed.device == device else None


def words(way: Way, views: int, blocks: int = 0) -> str:
    """For people."""
    said = []
    if way.tiles > 1:
        said.append(f"pictures in {way.tiles} tiles")
    if way.views is not None:
        said.append(f"{min(way.views, views)} of {views} views encoded at a time, after the guidance again")
    if way.schedule is not None:
        twice = sum(_leaves(node) for node in way.schedule if not isinstance(node, int))
        of = f" of {blocks}" if blocks else ""
        said.append(f"{twice}{of} blocks of the encoder computed twice")
    if way.at_once is not None:
        said.append(f"the prior asked for {way.at_once} pictures at a time")
    if way.offload:
        said.append("its network in main memory")
    return ", ".join(said) or "everything at once"
