"""What the parts of a step take, bytes and seconds: small measured runs, and what they say of larger ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dreamfusion3d.cameras import Cameras
from dreamfusion3d.config import Config
from dreamfusion3d.distill import Way, chained, taught
from dreamfusion3d.guidance import load_guidance
from dreamfusion3d.memory import amount
from dreamfusion3d.memory.chain import Chain, Cost, Edge, Point, Schedule, evaluate, front, keep_all, kept_by
from dreamfusion3d.memory.execute import Block, State
from dreamfusion3d.memory.meter import measured, metered, scaled, seconds_of
from dreamfusion3d.prior.guide import scene_of
from dreamfusion3d.prior.protocol import Prior, Prompts
from dreamfusion3d.showing import Pictures, Shown
from dreamfusion3d.types import Render

TILES = (2, 4, 8, 16, 32, 64)
RUN = (64, 4)  # tiles of the two runs at full size: the rest lies on the line through them
A_RAY = 16  # bytes of its colour and opacity
GRAINS = 100  # a schedule's bytes are told apart to one part in so many
A_QUESTION = 1e-4  # seconds: of two ways that measure alike the plainer one is taken


@dataclass(frozen=True)
class Rendered:
    """Making a step's pictures and handing their gradient on. Bytes in the order of a step: the peak of
    making them, what is left of that for the guidance, what the other losses add to that and leave of it,
    the pictures' gradients, and the peak of the backward pass with these."""

    tiles: int
    making: int
    kept: int
    losses: int
    graph: int
    gradients: int
    backward: int
    seconds: float


@dataclass(frozen=True)
class Lesson:
    """Encoding and asking: its peak, what is left of it for its backward pass, and the seconds of both."""

    peak: int
    kept: int
    seconds: float


@dataclass(frozen=True)
class Line:
    """Bytes or seconds by size, through two measured sizes; never falling."""

    sizes: tuple[int, int]
    values: tuple[float, float]

    def at(self, size: int) -> float:
        (a, b), (low, high) = self.sizes, self.values
        slope = min(max((high - low) / (b - a), 0.0), high / b)
        return max(high + slope * (size - b), 0.0)


@dataclass(frozen=True)
class Spent:
    """Of a computation, by its size."""

    peak: Line
    kept: Line
    seconds: Line


class Trial:
    """Small runs of a step's parts, and what they say of larger ones."""

    def __init__(
        self, pictures: Pictures, prior: Prior, text: Prompts, config: Config, device: torch.device
    ) -> None:
        self.pictures, self.prior, self.text, self.config, self.device = pictures, prior, text, config, device
        self.views = len(pictures.cameras)
        self.scene = scene_of(prior, self.views if config.guidance.joint_views else 1)
        self.weights = sum(p.numel() * p.element_size() for p in pictures.parameters)
        side = pictures.cameras.height
        self.trials = [pictures.cameras.resized(s, s) for s in (max(side // 4, 4), max(side // 2, 8))]
        self.x = self._first_x()
        self._denoise(self.scene)()  # loads and compiles what there is
        # gradients and Adam's moments; on a CPU also two copies of good states
        self.held = amount.held(device) + self.weights * (3 if device.type == "cuda" else 9)

    def lot(self) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(0)

    @torch.no_grad()
    def _first_x(self) -> Tensor:
        """A view in the prior's space, in place of every view."""
        state = self.pictures.block(self.trials[0])({})
        picture = Render(state["rgb"][:1], state["opacity"][:1], state["opacity"][:1])
        x = self.prior.encode(picture, generator=self.lot())
        return x.repeat(self.views, *[1] * (x.ndim - 1))

    # the pictures

    def renders(self) -> Iterator[Rendered]:
        """In one piece, as small pictures say; and in tiles, as runs at full size do."""
        low, high = self.trials
        sizes = (len(low) * low.height * low.width, len(high) * high.height * high.width)
        graph = [measured([self.pictures.block(c)], {}, self.device, self.pictures.parameters)
                 for c in self.trials]
        rays, (least, most) = self.pictures.rays, RUN
        small = self._shown(least)
        whole = scaled(graph[0], graph[1], sizes, rays).costs[0]
        held = small.gradients + whole.backward_peak
        once = whole.forward + whole.backward + self._seconds_of_losses()
        yield Rendered(
            1, whole.full_peak, whole.kept, small.losses, small.graph, small.gradients, held, once
        )
        if not self.pictures.tiled:
            return
        large = self._shown(most)
        ends = (rays // least, rays // most)
        making, backward = (
            Line(ends, (float(getattr(small, name)), float(getattr(large, name))))
            for name in ("making", "backward")
        )
        slope = max(small.seconds - large.seconds, 0.0) / (least - most)
        for tiles in TILES:
            size = -(-rays // tiles)
            yield replace(
                small, tiles=tiles, making=int(making.at(size)), backward=int(backward.at(size)),
                seconds=1.001 * max(large.seconds + slope * (tiles - most), once),
            )

    def _shown(self, tiles: int) -> Rendered:
        """A step at full size but for the guidance, whose gradient of the pictures is as large as any."""
        cameras, pictures = self.pictures.cameras, self.pictures

        def all_losses(cameras: Cameras, shown: Shown) -> Tensor:
            return pictures.losses(cameras, shown) + shown.picture.rgb.sum() + shown.picture.opacity.sum()

        def run(cameras: Cameras) -> None:
            shown = pictures.shown(cameras, tiles)
            all_losses(cameras, shown).backward()
            shown.backward()

        with _as_found(pictures.parameters) as there, metered(self.device, there) as meter:
            def since(start: int) -> tuple[int, int]:
                found = meter.peak() - start, meter.live() - start
                meter.reset()
                return found

            run(self.trials[0])  # what it finds there counts no more
            start = meter.live()
            meter.reset()
            shown = pictures.shown(cameras, tiles)
            making, kept = since(start)
            loss = all_losses(cameras, shown)
            losses, graph = since(start + kept)
            loss.backward()
            del loss
            _, gradients = since(start + kept)
            shown.backward()
            backward, _ = since(start)
        with _as_found(pictures.parameters):  # apart, for a meter takes time
            seconds = seconds_of(self.device, lambda: run(cameras), 1)
        return Rendered(tiles, making, kept, losses, graph, gradients, backward, seconds)

    def _seconds_of_losses(self) -> float:
        shown = self.pictures.shown(self.pictures.cameras, RUN[0])
        return seconds_of(
            self.device, lambda: self.pictures.losses(self.pictures.cameras, shown).backward(), 1
        )

    # the prior

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


@contextlib.contextmanager
def _as_found(parameters: list[Tensor]) -> Iterator[list[Tensor]]:
    """Parameters with gradients to add to, which are given back as they were."""
    before = [p.grad for p in parameters]
    for p in parameters:
        p.grad = torch.zeros_like(p)
    try:
        yield [*parameters, *(p.grad for p in parameters if p.grad is not None)]
    finally:
        for p, grad in zip(parameters, before, strict=True):
            p.grad = grad


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
