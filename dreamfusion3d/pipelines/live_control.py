"""A run that is watched: its log of steps, and what another process asks of it by files in work/.

    steps.jsonl    by the run: one object a step, thinned to LINES at most
    control.json   by whoever watches: {"paused": bool, "prompt": str | null}
    reply.json     by the run: what became of the prompt that was asked for last
    edits.json     by the run: from which step on it was asked which prompt

A resumed run reads its own edits.json and so takes the same steps again. Where nobody asks for
another prompt there is no edits.json, and every byte of the asset is what it would be unwatched.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamfusion3d.core import files
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.slug import check_prompt
from dreamfusion3d.pipelines.workspace import Edit

if TYPE_CHECKING:
    from dreamfusion3d.cameras.orbit import Cameras
    from dreamfusion3d.core.config import Config
    from dreamfusion3d.core.progress import Progress
    from dreamfusion3d.priors.protocol import Asked, Prior, Prompts
    from dreamfusion3d.training.loop import Step

STAGES = ("optimise", "paint")  # in their order; each counts its own steps
LINES = 4000  # of steps.jsonl at most
LARGEST_CONTROL = 64 << 10  # bytes
SECONDS_BETWEEN_LOOKS = 0.2  # at control.json, while paused


def place_of(edit: Edit) -> tuple[int, int]:
    return STAGES.index(edit.stage), edit.step


@dataclass(frozen=True)
class Wish:
    """What control.json asks for."""

    paused: bool = False
    prompt: str | None = None


def wish_of(work: Path) -> Wish:
    """What is asked of the run in ``work``; nothing where the file is absent, too large or no such object."""
    try:
        path = work / "control.json"
        if path.stat().st_size > LARGEST_CONTROL:
            return Wish()
        value = json.loads(path.read_text(encoding="utf-8"))
        paused, prompt = value["paused"], value.get("prompt")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Wish()
    return Wish(paused is True, prompt if isinstance(prompt, str) else None)


def ask(work: Path, wish: Wish) -> None:
    """Asks the run in ``work`` for ``wish``, which takes the place of what was asked before."""
    files.write_json(work / "control.json", asdict(wish))


def read_edits(work: Path) -> list[Edit]:
    """The edits of a run, in order. Raises InputError where they were made but cannot be read."""
    path = work / "edits.json"
    try:
        edits = [
            Edit(str(e["stage"]), int(e["step"]), str(e["prompt"]))
            for e in json.loads(path.read_text(encoding="utf-8"))
        ]
        return sorted(edits, key=place_of)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"{path} is damaged, so nobody knows which prompts this run was given; --fresh starts it over"
        ) from None


def read_steps(work: Path) -> list[dict[str, Any]]:
    """The steps of steps.jsonl, oldest first; a line that is cut off or damaged is left out."""
    found = []
    with contextlib.suppress(OSError):
        for line in (work / "steps.jsonl").read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
                step = json.loads(line)
                if step["stage"] in STAGES and isinstance(step["step"], int):
                    found.append(step)
    return found


class Spoken:
    """Prompts that may change between steps."""

    def __init__(self, now: Prompts) -> None:
        self.now = now

    def asked(self, cameras: Cameras) -> Asked:
        return self.now.asked(cameras)


class Control:
    """Between the steps of one stage: logs them, waits while paused, changes the prompt."""

    def __init__(
        self, work: Path, stage: str, prior: Prior, prompt: str, config: Config, progress: Progress
    ) -> None:
        self.work, self.stage, self.prior, self.prompt = work, stage, prior, prompt
        self.config, self.progress = config, progress
        self.edits = read_edits(work)
        self.speaking = ""
        self.stamp: tuple[int, int] | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        self.wish = Wish()

    def steps(
        self, begin: Callable[[Prompts], Iterator[Step]], checkpoint: Path,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Iterator[Step]:
        """The steps of ``begin``, which is told what the cameras are asked; ``checkpoint`` is where it
        takes up, and ``meanwhile`` is called again and again while paused. Raises InputError when the
        checkpoint turns out damaged and edits came before it."""
        self.meanwhile = meanwhile
        first = _index_of(checkpoint) + 1 if self.edits else 1
        log = Log(self.work / "steps.jsonl", self.stage)
        self.speaking = self.prompt_at(first)
        text = Spoken(self._encoded(self.speaking))
        self._between(first, 0, text)
        expected = first
        for step in begin(text):
            if expected and step.index != expected and self.prompt_at(step.index) != self.speaking:
                checkpoint.unlink(missing_ok=True)  # its first step had another step's prompt
                raise InputError(f"{checkpoint} is damaged; run the same command again: it starts over")
            expected = 0
            log.add(step)
            yield step
            if step.index < step.total:
                self._between(step.index + 1, step.total, text)

    def prompt_at(self, step: int) -> str:
        """What is asked in ``step`` of this stage, by the edits so far."""
        here = (STAGES.index(self.stage), step)
        return next((e.prompt for e in reversed(self.edits) if place_of(e) <= here), self.prompt)

    def _between(self, step: int, total: int, text: Spoken) -> None:
        """Before ``step``: what is asked for is done. After a setback the edits are as they were."""
        self._look(step)
        told = False
        while self.wish.paused:
            if not told:
                self.progress.say(
                    f"warning: paused before step {step}; `dreamfusion3d view` goes on, "
                    f"or delete {self.work / 'control.json'}"
                )
                told = True
            self.progress.step(step - 1, total or step, "paused")  # a batch sees that it is alive
            if total:  # before the first step the field may not be the run's yet
                self.meanwhile()
            time.sleep(SECONDS_BETWEEN_LOOKS)
            self._look(step)
        now = self.prompt_at(step)
        if now != self.speaking:
            text.now, self.speaking = self._encoded(now), now

    def _look(self, step: int) -> None:
        """Reads control.json when it has changed."""
        try:
            status = (self.work / "control.json").stat()
            stamp = (status.st_mtime_ns, status.st_ino)
        except OSError:
            stamp = None
        if stamp == self.stamp:
            return
        self.stamp, self.wish = stamp, wish_of(self.work)
        wanted = self.wish.prompt
        if wanted is not None and wanted != self._asked_last():
            self._judge(wanted, step)

    def _asked_last(self) -> str | None:
        """The prompt that reply.json answers: a resumed run is not asked for it again."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            return str(json.loads((self.work / "reply.json").read_text(encoding="utf-8"))["prompt"])
        return None

    def _judge(self, wanted: str, step: int) -> None:
        """Takes ``wanted`` as the prompt from ``step`` on, or says why not."""
        from dreamfusion3d.priors.view_prompts import remarks

        try:
            prompt = check_prompt(wanted)
            notes = remarks(self.prior, prompt, self.config)
        except InputError as error:
            self.progress.say(f"warning: the new prompt is not taken: {error}")
            self._reply(wanted, False, str(error), step)
            return
        latest = place_of(self.edits[-1]) if self.edits else (0, 0)
        here = Edit(self.stage, step, prompt)
        if place_of(here) < latest:  # after a setback: what was asked later does not come any more
            self.edits = [e for e in self.edits if place_of(e) < place_of(here)]
        if prompt != self.prompt_at(step):
            self.edits = [e for e in self.edits if place_of(e) != place_of(here)] + [here]
            # before the first step that it changes: a resumed run must know of it
            files.write_json(self.work / "edits.json", [asdict(e) for e in self.edits])
        self.progress.say(f"from step {step} on: {prompt}")
        for note in notes:
            self.progress.say(f"warning: {note}")
        self._reply(wanted, True, "; ".join(notes), step)

    def _reply(self, prompt: str, accepted: bool, message: str, step: int) -> None:
        reply = {"prompt": prompt, "accepted": accepted, "message": message, "step": step}
        files.write_json(self.work / "reply.json", reply)

    def _encoded(self, prompt: str) -> Prompts:
        from dreamfusion3d.priors.view_prompts import encode_prompts

        return encode_prompts(self.prior, prompt, self.config.prompts)


class Log:
    """steps.jsonl: when it has LINES, every second one goes, and half as many come."""

    def __init__(self, path: Path, stage: str) -> None:
        self.path, self.stage = path, stage
        self.every, self.fresh = 1, True
        self.lines: list[dict[str, Any]] = []

    def add(self, step: Step) -> None:
        """Keeps ``step``. A disk that is full is told by the checkpoint, not by this log."""
        with contextlib.suppress(OSError):
            if self.fresh:
                self._take_up(step.index)
            if step.index % self.every and step.index != step.total:
                return
            norm = step.gradient_norm
            line = {
                "stage": self.stage, "step": step.index, "total": step.total,
                "gradient_norm": norm if math.isfinite(norm) else None, "seconds": round(step.seconds, 6),
            }
            self.lines.append(line)
            if len(self.lines) > LINES:
                self.every *= 2
                self.lines = self.lines[1::2]
                self._write()
            else:
                with open(self.path, "a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line) + "\n")

    def _take_up(self, index: int) -> None:
        """What an earlier process logged of the steps before ``index``."""
        place = (STAGES.index(self.stage), index)
        earlier = read_steps(self.path.parent)
        self.lines = [s for s in earlier if (STAGES.index(s["stage"]), s["step"]) < place]
        self.fresh = False
        self._write()

    def _write(self) -> None:
        files.write_bytes(self.path, "".join(json.dumps(line) + "\n" for line in self.lines).encode())


def _index_of(checkpoint: Path) -> int:
    """The steps that a checkpoint has behind it; 0 where there is none that can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(checkpoint, framework="pt") as archive:
            return int(archive.get_tensor("index"))
    except (OSError, SafetensorError, ValueError, RuntimeError):
        return 0
