"""What the parts of a step take, bytes and seconds: small measured runs, and what they say of larger ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dreamfusion3d.cameras.orbit import Cameras
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.types import Render
from dreamfusion3d.guidance import load_guidance
from dreamfusion3d.memory import budget as amount
from dreamfusion3d.memory.checkpoint_plan import (
    Chain,
    Cost,
    Edge,
    Point,
    Schedule,
    evaluate,
    front,
    keep_all,
    kept_by,
)
from dreamfusion3d.memory.checkpointed import Block, State
from dreamfusion3d.memory.profiler import Line, measured, metered, scaled, seconds_of
from dreamfusion3d.priors.cfg import scene_of
from dreamfusion3d.priors.protocol import Prior, Prompts
from dreamfusion3d.training.guidance_loss import Way, chained, taught
from dreamfusion3d.training.render_profiler import Rendered, Renders
from dreamfusion3d.training.render_workload import Pictures

A_RAY = 16  # bytes of its colour and opacity
GRAINS = 100  # a schedule's bytes are told apart to one part in so many
A_QUESTION = 1e-4  # seconds: of two ways that measure alike the plainer one is taken


@dataclass(frozen=True)
class Lesson:
    """Encoding and asking: its peak, what is left of it for its backward pass, and the seconds of both."""

    peak: int
    kept: int
    seconds: float


@dataclass(frozen=True)
class Spent:
    """Of a computation, by its size."""

    peak: Line
    kept: Line
    seconds: Line


class Trial:
    """Small runs of a step's parts, and what they say of larger ones."""

    def __init__(
        self, pictures: Pictures, prior: Prior, text: Prompts, config: Config, device: torch.device,
        budget: int | None = None,
    ) -> None:
        self.pictures, self.prior, self.text, self.config, self.device = pictures, prior, text, config, device
        self.views = len(pictures.cameras)
        self.scene = scene_of(prior, self.views if config.guidance.joint_views else 1)
        self.weights = sum(p.numel() * p.element_size() for p in pictures.parameters)
        side = pictures.cameras.height
        self.small = pictures.cameras.resized(max(side // 4, 4), max(side // 4, 4))
        self.x = self._first_x()
        self._denoise(self.scene)()  # loads and compiles what there is
        # gradients and Adam's moments; on a CPU also two copies of good states
        self.held = amount.held(device) + self.weights * (3 if device.type == "cuda" else 9)
        # of trials themselves; what they run out of in spite of it is met, too
        self.room = math.inf if budget is None else max(budget - self.held, 0)

    def lot(self) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(0)

    @torch.no_grad()
    def _first_x(self) -> Tensor:
        """A view in the prior's space, in place of every view."""
        state = self.pictures.block(self.small)({})
        picture = Render(state["rgb"][:1], state["opacity"][:1], state["opacity"][:1])
        x = self.prior.encode(picture, generator=self.lot())
        return x.repeat(self.views, *[1] * (x.ndim - 1))

    def renders(self) -> Iterator[Rendered]:
        """The pictures, in one piece and in tiles."""
        return Renders(self.pictures, self.device, self.room).every()

    def teachings(self) -> Iterator[tuple[Way, Lesson]]:
        """Ways of encoding and asking."""
        ones, known = self._encoder()
        n = self.blocks = len(ones[0])
        guidance = self._spent_on_guidance()
        asked = self._spent([self._denoise(k * self.scene) for k in (1, 2)], (self.scene, 2 * self.scene))
        x, rays = self.x.numel() * self.x.element_size(), self.pictures.rays
        groups_of: list[tuple[int, Chain, list[Point]]] = []
        for views in sorted({1, -(-self.views // 2)} - {self.views}) if known else ():
            chain = scaled(ones[0], ones[1], (1, 2), views)
            groups_of.append((views, chain, _front(chain)))
        for at_once in (None, *sorted({self.views, self.scene}, reverse=True)):
            questions = self._questions(at_once)
            if at_once is not None and questions == self._questions(None):
                continue
            most = min(max(questions), getattr(self.prior, "batch", max(questions)))
            peak = guidance[0] + asked.peak.at(most)
            seconds = guidance[1] + sum(asked.seconds.at(q) + A_QUESTION for q in questions)
            whole = scaled(ones[0], ones[1], (1, 2), self.views)
            cost = Cost(seconds, 0.0, int(peak), int(peak), 2 * x, x)
            both = Chain((*whole.costs, cost), (*whole.edges, Edge(n - 1, n, x, x)))
            for point in _front(both) if known else [evaluate(both, keep_all(n + 1))]:
                schedule: Schedule | None = point.schedule[:-1]
                way = Way(schedule=None if schedule == keep_all(n) else schedule, at_once=at_once)
                yield way, Lesson(point.peak, kept_by(both, point.schedule), point.seconds)
            for views, chain, points in groups_of:
                groups = self.views / views
                forward = sum(c.forward for c in chain.costs)
                light = chain.light_peak(0, n - 1, n - 1)
                part = A_RAY * rays * (1 + views / self.views)  # gradients, and the pictures of a group
                for point in points:
                    most = max(2 * x + max(light, int(peak)), x + part + point.peak)
                    took = seconds + groups * (forward + point.seconds)
                    schedule = None if point.schedule == keep_all(n) else point.schedule
                    yield Way(1, views, schedule, at_once), Lesson(int(most), A_RAY * rays, took)

    def _encoder(self) -> tuple[list[Chain], bool]:
        """Of one and of two pictures; and whether its blocks may be computed twice."""
        side, chains, known = self.pictures.cameras.height, [], False
        for count in (1, 2):
            rgb = torch.rand(count, side, side, 3, generator=self.lot(), device=self.device)
            opacity = rgb[..., 0].clone()
            chain = chained(self.prior, Render(rgb, opacity, opacity), self.lot())
            known = chain is not None

            def encode(state: State) -> State:
                picture = Render(state["rgb"], state["opacity"], state["opacity"].detach())
                return {"x": self.prior.encode(picture, generator=self.lot())}

            blocks = [Block("encode", encode)] if chain is None else chain.blocks(slice(0, count))
            state = {"rgb": rgb.requires_grad_(True), "opacity": opacity.requires_grad_(True)}
            chains.append(measured(blocks, state, self.device, () if chain is None else chain.parameters))
        return chains, known

    def _denoise(self, count: int) -> Callable[[], Tensor]:
        """A question of so many pictures."""
        cameras = self.pictures.cameras
        rows = torch.arange(count, device=self.x.device) % self.views
        t = self.x.new_full((count,), 0.5)
        text, joint = self.text.asked(cameras).cond.select(rows), self.scene if self.scene > 1 else 1
        return lambda: self.prior.denoise(self.x[rows], t, text, cameras.select(rows), views=joint)

    def _questions(self, at_once: int | None) -> list[int]:
        """Pictures of each question of a step."""
        mute = _Mute(self.prior)
        self._teach(mute, at_once)
        return mute.asked

    def calls(self, at_once: int | None) -> int:
        """How often a step runs the prior's network."""
        questions = self._questions(at_once)
        return sum(-(-q // getattr(self.prior, "batch", q)) for q in questions)

    def _teach(self, prior: Prior, at_once: int | None) -> None:
        guidance = load_guidance(self.config.guidance, device=self.device, warn=lambda problem: None)
        x = self.x.clone().requires_grad_(True)
        loss = taught(
            guidance, x, self.pictures.cameras, prior, self.text, self.config, 0.5, at_once, self.lot()
        )
        torch.autograd.grad(loss, x)

    def _spent_on_guidance(self) -> tuple[int, float]:
        """Peak and seconds of all but the prior's answers."""
        spent = self._spent([lambda: self._teach(_Mute(self.prior), None)] * 2, (1, 2))
        return int(spent.peak.values[0]), spent.seconds.values[0]

    def _spent(self, runs: list[Callable[[], Any]], sizes: tuple[int, int]) -> Spent:
        rows = []
        for run in runs:
            with metered(self.device, self.pictures.parameters) as meter:
                run()  # what it finds there, as weights, counts no more
                meter.reset()
                start = meter.live()
                made = run()
                peak, kept = meter.peak() - start, meter.live() - start
                del made
            rows.append((float(peak), float(kept), seconds_of(self.device, run, 1)))
        small, large = rows
        return Spent(*(Line(sizes, (a, b)) for a, b in zip(small, large, strict=True)))


def _front(chain: Chain) -> list[Point]:
    return front(chain, max(1, evaluate(chain, keep_all(len(chain))).peak // GRAINS))


class _Mute:
    """In a prior's place: answers with the question, and counts the pictures."""

    def __init__(self, prior: Prior) -> None:
        self.name, self.sha256, self.camera_conditioned = prior.name, prior.sha256, prior.camera_conditioned
        self.check_prompt, self.encode_text = prior.check_prompt, prior.encode_text
        self.alpha_sigma, self.encode = prior.alpha_sigma, prior.encode
        self.asked: list[int] = []

    def denoise(self, x_t: Tensor, t: Tensor, text: Any, cameras: Cameras, *, views: int = 1) -> Tensor:
        self.asked.append(len(x_t))
        return x_t.clone()
