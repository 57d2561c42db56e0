"""Pause and steer a run from another process, by files in work/.

    steps.jsonl    written by the run: its `StepLog`
    control.json   written by a watcher: {"paused": bool, "prompt": str | null}
    reply.json     written by the run: the outcome of the last requested prompt
    edits.json     written by the run: its `PromptHistory`

A resumed run reads its own edits.json and so takes the same steps. Without a new prompt every byte of the asset is
that of an unwatched run.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dreamfusion3d.core import files
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.slug import check_prompt
from dreamfusion3d.pipelines.prompt_history import PromptHistory, SwitchablePrompts
from dreamfusion3d.pipelines.step_log import StepLog

if TYPE_CHECKING:
    from dreamfusion3d.core.config import Config
    from dreamfusion3d.core.progress import Progress
    from dreamfusion3d.priors.protocol import Prior, Prompts
    from dreamfusion3d.training.loop import Step

MAX_CONTROL_BYTES = 64 << 10
PAUSE_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class ControlRequest:
    """Content of control.json."""

    paused: bool = False
    prompt: str | None = None


def read_control_request(work: Path) -> ControlRequest:
    """Return the request to the run in ``work``; an empty one if the file is absent, too large or damaged."""
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
    """Replace the request to the run in ``work``."""
    files.write_json(work / "control.json", asdict(request))


class RequestInbox:
    """Requests in control.json, read when the file changes, and the answer to a prompt."""

    def __init__(self, work: Path) -> None:
        self.work, self.request = work, ControlRequest()
        self._stamp: tuple[int, int] | None = None

    def poll(self) -> str | None:
        """Read a changed control.json; return its prompt unless it has been answered, also by an earlier process."""
        try:
            status = (self.work / "control.json").stat()
            stamp = (status.st_mtime_ns, status.st_ino)
        except OSError:
            stamp = None
        if stamp == self._stamp:
            return None
        self._stamp, self.request = stamp, read_control_request(self.work)
        return None if self.request.prompt == self._answered_prompt() else self.request.prompt

    def answer(self, prompt: str, accepted: bool, message: str, step: int) -> None:
        """Write reply.json."""
        reply = {"prompt": prompt, "accepted": accepted, "message": message, "step": step}
        files.write_json(self.work / "reply.json", reply)

    def _answered_prompt(self) -> str | None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            return str(json.loads((self.work / "reply.json").read_text(encoding="utf-8"))["prompt"])
        return None


class LiveControl:
    """Between the steps of one stage: log them, wait while paused, switch the prompt."""

    def __init__(self, work: Path, stage: str, prior: Prior, prompt: str, config: Config, progress: Progress) -> None:
        self.work, self.stage, self.prior = work, stage, prior
        self.config, self.progress = config, progress
        self.history, self.inbox, self.log = PromptHistory(work, prompt), RequestInbox(work), StepLog(work, stage)

    def steps(
        self,
        start_steps: Callable[[Prompts], Iterator[Step]],
        checkpoint: Path,
        while_paused: Callable[[], None] = lambda: None,
    ) -> Iterator[Step]:
        """Yield the steps of ``start_steps``, which receives the prompts.

        Args:
            checkpoint: the file that ``start_steps`` resumes from.
            while_paused: called repeatedly during a pause.

        Raises:
            InputError: the checkpoint is damaged and prompts were changed before it.
        """
        first = _checkpoint_index(checkpoint) + 1 if self.history.edits else 1
        prompts = SwitchablePrompts(self.prior, self.config.prompts, self.history.prompt_at(self.stage, first))
        self._before_step(first, 0, prompts, while_paused)
        expected_index = first
        for step in start_steps(prompts):
            prompt = self.history.prompt_at(self.stage, step.index)
            if expected_index and step.index != expected_index and prompt != prompts.prompt:
                checkpoint.unlink(missing_ok=True)  # its first step had another step's prompt
                raise InputError(f"{checkpoint} is damaged; run the same command again: it starts over")
            expected_index = 0
            self.log.add(step)
            yield step
            if step.index < step.total:
                self._before_step(step.index + 1, step.total, prompts, while_paused)

    def _before_step(self, step: int, total: int, prompts: SwitchablePrompts, while_paused: Callable[[], None]) -> None:
        self._poll(step)
        announced = False
        while self.inbox.request.paused:
            if not announced:
                self.progress.warn(
                    f"paused before step {step}; continue in `dreamfusion3d view`, "
                    f"or delete {self.work / 'control.json'}"
                )
                announced = True
            self.progress.step(step - 1, total or step, "paused")  # a batch sees that the worker is alive
            if total:  # before the first step the field may not be the run's yet
                while_paused()
            time.sleep(PAUSE_POLL_SECONDS)
            self._poll(step)
        prompts.switch_to(self.history.prompt_at(self.stage, step))

    def _poll(self, step: int) -> None:
        """Accept a requested prompt from ``step`` on, or answer why not."""
        from dreamfusion3d.priors.view_prompts import prompt_warnings

        requested = self.inbox.poll()
        if requested is None:
            return
        try:
            prompt = check_prompt(requested)
            warnings = prompt_warnings(self.prior, prompt, self.config)
        except InputError as error:
            self.progress.warn(f"the new prompt was rejected: {error}")
            self.inbox.answer(requested, False, str(error), step)
            return
        self.history.add(self.stage, step, prompt)
        self.progress.log(f"from step {step} on: {prompt}")
        for warning in warnings:
            self.progress.warn(warning)
        self.inbox.answer(requested, True, "; ".join(warnings), step)


def _checkpoint_index(checkpoint: Path) -> int:
    """Return the number of steps before a checkpoint; 0 if it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(checkpoint, framework="pt") as archive:
            return int(archive.get_tensor("index"))
    except (OSError, SafetensorError, ValueError, RuntimeError):
        return 0
