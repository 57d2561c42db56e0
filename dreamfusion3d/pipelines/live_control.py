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
from dreamfusion3d.pipelines.workspace import PromptEdit

if TYPE_CHECKING:
    from dreamfusion3d.cameras.orbit import OrbitCameras
    from dreamfusion3d.core.config import Config
    from dreamfusion3d.core.progress import Progress
    from dreamfusion3d.priors.protocol import Conditioning, Prior, Prompts
    from dreamfusion3d.training.loop import Step

TRAINING_STAGES = ("optimise", "paint")  # in their order; each counts its own steps
MAX_LOG_LINES = 4000  # of steps.jsonl at most
MAX_CONTROL_BYTES = 64 << 10  # bytes
PAUSE_POLL_SECONDS = 0.2  # at control.json, while paused


def edit_position(edit: PromptEdit) -> tuple[int, int]:
    return TRAINING_STAGES.index(edit.stage), edit.step


@dataclass(frozen=True)
class ControlRequest:
    """What control.json asks for."""

    paused: bool = False
    prompt: str | None = None


def read_control_request(work: Path) -> ControlRequest:
    """What is asked of the run in ``work``; nothing where the file is absent, too large or no such object."""
    try:
        path = work / "control.json"
        if path.stat().st_size > MAX_CONTROL_BYTES:
            return ControlRequest()
        value = json.loads(path.read_text(encoding="utf-8"))
        paused, prompt = value["paused"], value.get("prompt")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ControlRequest()
    return ControlRequest(paused is True, prompt if isinstance(prompt, str) else None)


def write_control_request(work: Path, request: ControlRequest) -> None:
    """Asks the run in ``work`` for ``wish``, which takes the place of what was asked before."""
    files.write_json(work / "control.json", asdict(request))


def read_edits(work: Path) -> list[PromptEdit]:
    """The edits of a run, in order. Raises InputError where they were made but cannot be read."""
    path = work / "edits.json"
    try:
        edits = [
            PromptEdit(str(e["stage"]), int(e["step"]), str(e["prompt"]))
            for e in json.loads(path.read_text(encoding="utf-8"))
        ]
        return sorted(edits, key=edit_position)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"{path} is damaged, so nobody knows which prompts this run was given; --no-resume starts it over"
        ) from None


def read_step_log(work: Path) -> list[dict[str, Any]]:
    """The steps of steps.jsonl, oldest first; a line that is cut off or damaged is left out."""
    steps = []
    with contextlib.suppress(OSError):
        for line in (work / "steps.jsonl").read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
                step = json.loads(line)
                if step["stage"] in TRAINING_STAGES and isinstance(step["step"], int):
                    steps.append(step)
    return steps


class SwitchablePrompts:
    """Prompts that may change between steps."""

    def __init__(self, current: Prompts) -> None:
        self.current = current

    def conditioning(self, cameras: OrbitCameras) -> Conditioning:
        return self.current.conditioning(cameras)


class LiveControl:
    """Between the steps of one stage: logs them, waits while paused, changes the prompt."""

    def __init__(self, work: Path, stage: str, prior: Prior, prompt: str, config: Config, progress: Progress) -> None:
        self.work, self.stage, self.prior, self.prompt = work, stage, prior, prompt
        self.config, self.progress = config, progress
        self.edits = read_edits(work)
        self.active_prompt = ""
        self.control_stamp: tuple[int, int] | None = None
        self.while_paused: Callable[[], None] = lambda: None
        self.request = ControlRequest()

    def steps(
        self,
        start_steps: Callable[[Prompts], Iterator[Step]],
        checkpoint: Path,
        while_paused: Callable[[], None] = lambda: None,
    ) -> Iterator[Step]:
        """The steps of ``begin``, which is told what the cameras are asked; ``checkpoint`` is where it
        takes up, and ``meanwhile`` is called again and again while paused. Raises InputError when the
        checkpoint turns out damaged and edits came before it."""
        self.while_paused = while_paused
        first = _checkpoint_index(checkpoint) + 1 if self.edits else 1
        log = StepLog(self.work / "steps.jsonl", self.stage)
        self.active_prompt = self.prompt_at(first)
        prompts = SwitchablePrompts(self._encode(self.active_prompt))
        self._before_step(first, 0, prompts)
        expected_index = first
        for step in start_steps(prompts):
            if expected_index and step.index != expected_index and self.prompt_at(step.index) != self.active_prompt:
                checkpoint.unlink(missing_ok=True)  # its first step had another step's prompt
                raise InputError(f"{checkpoint} is damaged; run the same command again: it starts over")
            expected_index = 0
            log.add(step)
            yield step
            if step.index < step.total:
                self._before_step(step.index + 1, step.total, prompts)

    def prompt_at(self, step: int) -> str:
        """What is asked in ``step`` of this stage, by the edits so far."""
        position = (TRAINING_STAGES.index(self.stage), step)
        return next((e.prompt for e in reversed(self.edits) if edit_position(e) <= position), self.prompt)

    def _before_step(self, step: int, total: int, prompts: SwitchablePrompts) -> None:
        """Before ``step``: what is asked for is done. After a setback the edits are as they were."""
        self._poll_request(step)
        announced = False
        while self.request.paused:
            if not announced:
                self.progress.log(
                    f"warning: paused before step {step}; `dreamfusion3d view` goes on, "
                    f"or delete {self.work / 'control.json'}"
                )
                announced = True
            self.progress.step(step - 1, total or step, "paused")  # a batch sees that it is alive
            if total:  # before the first step the field may not be the run's yet
                self.while_paused()
            time.sleep(PAUSE_POLL_SECONDS)
            self._poll_request(step)
        prompt = self.prompt_at(step)
        if prompt != self.active_prompt:
            prompts.current, self.active_prompt = self._encode(prompt), prompt

    def _poll_request(self, step: int) -> None:
        """Reads control.json when it has changed."""
        try:
            status = (self.work / "control.json").stat()
            stamp = (status.st_mtime_ns, status.st_ino)
        except OSError:
            stamp = None
        if stamp == self.control_stamp:
            return
        self.control_stamp, self.request = stamp, read_control_request(self.work)
        prompt = self.request.prompt
        if prompt is not None and prompt != self._last_answered_prompt():
            self._apply_prompt(prompt, step)

    def _last_answered_prompt(self) -> str | None:
        """The prompt that reply.json answers: a resumed run is not asked for it again."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            return str(json.loads((self.work / "reply.json").read_text(encoding="utf-8"))["prompt"])
        return None

    def _apply_prompt(self, requested: str, step: int) -> None:
        """Takes ``wanted`` as the prompt from ``step`` on, or says why not."""
        from dreamfusion3d.priors.view_prompts import prompt_warnings

        try:
            prompt = check_prompt(requested)
            notes = prompt_warnings(self.prior, prompt, self.config)
        except InputError as error:
            self.progress.log(f"warning: the new prompt is not taken: {error}")
            self._write_reply(requested, False, str(error), step)
            return
        last_position = edit_position(self.edits[-1]) if self.edits else (0, 0)
        edit = PromptEdit(self.stage, step, prompt)
        if edit_position(edit) < last_position:  # after a setback: what was asked later does not come any more
            self.edits = [e for e in self.edits if edit_position(e) < edit_position(edit)]
        if prompt != self.prompt_at(step):
            self.edits = [e for e in self.edits if edit_position(e) != edit_position(edit)] + [edit]
            # before the first step that it changes: a resumed run must know of it
            files.write_json(self.work / "edits.json", [asdict(e) for e in self.edits])
        self.progress.log(f"from step {step} on: {prompt}")
        for note in notes:
            self.progress.log(f"warning: {note}")
        self._write_reply(requested, True, "; ".join(notes), step)

    def _write_reply(self, prompt: str, accepted: bool, message: str, step: int) -> None:
        reply = {"prompt": prompt, "accepted": accepted, "message": message, "step": step}
        files.write_json(self.work / "reply.json", reply)

    def _encode(self, prompt: str) -> Prompts:
        from dreamfusion3d.priors.view_prompts import encode_prompts

        return encode_prompts(self.prior, prompt, self.config.prompts)


class StepLog:
    """steps.jsonl: when it has LINES, every second one goes, and half as many come."""

    def __init__(self, path: Path, stage: str) -> None:
        self.path, self.stage = path, stage
        self.stride, self.unread = 1, True
        self.entries: list[dict[str, Any]] = []

    def add(self, step: Step) -> None:
        """Keeps ``step``. A disk that is full is told by the checkpoint, not by this log."""
        with contextlib.suppress(OSError):
            if self.unread:
                self._load_earlier(step.index)
            if step.index % self.stride and step.index != step.total:
                return
            norm = step.gradient_norm
            entry = {
                "stage": self.stage,
                "step": step.index,
                "total": step.total,
                "gradient_norm": norm if math.isfinite(norm) else None,
                "seconds": round(step.seconds, 6),
            }
            self.entries.append(entry)
            if len(self.entries) > MAX_LOG_LINES:
                self.stride *= 2
                self.entries = self.entries[1::2]
                self._rewrite()
            else:
                with open(self.path, "a", encoding="utf-8") as stream:
                    stream.write(json.dumps(entry) + "\n")

    def _load_earlier(self, index: int) -> None:
        """What an earlier process logged of the steps before ``index``."""
        position = (TRAINING_STAGES.index(self.stage), index)
        earlier = read_step_log(self.path.parent)
        self.entries = [s for s in earlier if (TRAINING_STAGES.index(s["stage"]), s["step"]) < position]
        self.unread = False
        self._rewrite()

    def _rewrite(self) -> None:
        files.write_bytes(self.path, "".join(json.dumps(entry) + "\n" for entry in self.entries).encode())


def _checkpoint_index(checkpoint: Path) -> int:
    """The steps that a checkpoint has behind it; 0 where there is none that can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(checkpoint, framework="pt") as archive:
            return int(archive.get_tensor("index"))
    except (OSError, SafetensorError, ValueError, RuntimeError):
        return 0
