"""Prompts that were changed while a run was going, work/edits.json, and the conditioning of the current one."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dreamfusion3d.core import files
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.pipelines.step_log import stage_position
from dreamfusion3d.pipelines.workspace import PromptEdit

if TYPE_CHECKING:
    from dreamfusion3d.cameras.orbit import OrbitCameras
    from dreamfusion3d.core.config import PromptConfig
    from dreamfusion3d.priors.protocol import Conditioning, Prior


def _position(edit: PromptEdit) -> tuple[int, int]:
    return stage_position(edit.stage, edit.step)


def read_edits(work: Path) -> list[PromptEdit]:
    """Return the edits of a run in order; raises InputError if they exist but cannot be read."""
    path = work / "edits.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        edits = [PromptEdit(str(e["stage"]), int(e["step"]), str(e["prompt"])) for e in values]
        return sorted(edits, key=_position)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"{path} is damaged, so the prompts of this run are unknown; --no-resume starts it over"
        ) from None


class PromptHistory:
    """The prompt of each step, by the edits so far. Without edits no file is written."""

    def __init__(self, work: Path, prompt: str) -> None:
        self.work, self.prompt = work, prompt
        self.edits = read_edits(work)

    def prompt_at(self, stage: str, step: int) -> str:
        """Return the prompt of a step."""
        position = stage_position(stage, step)
        return next((e.prompt for e in reversed(self.edits) if _position(e) <= position), self.prompt)

    def add(self, stage: str, step: int, prompt: str) -> None:
        """Use ``prompt`` from ``step`` on, and keep that before the first step that it changes."""
        edit = PromptEdit(stage, step, prompt)
        if self.edits and _position(edit) < _position(self.edits[-1]):
            # after a rollback: later edits do not come any more
            self.edits = [e for e in self.edits if _position(e) < _position(edit)]
        if prompt != self.prompt_at(stage, step):
            self.edits = [e for e in self.edits if _position(e) != _position(edit)] + [edit]
            files.write_json(self.work / "edits.json", [asdict(e) for e in self.edits])


class SwitchablePrompts:
    """Text conditioning that can change between steps."""

    def __init__(self, prior: Prior, settings: PromptConfig, prompt: str) -> None:
        self.prior, self.settings, self.prompt = prior, settings, ""
        self.switch_to(prompt)

    def switch_to(self, prompt: str) -> None:
        """Encode ``prompt`` unless it is the current one."""
        from dreamfusion3d.priors.view_prompts import encode_prompts

        if prompt != self.prompt:
            self.current, self.prompt = encode_prompts(self.prior, prompt, self.settings), prompt

    def conditioning(self, cameras: OrbitCameras) -> Conditioning:
        """Return the current prompt's embeddings for ``cameras``."""
        return self.current.conditioning(cameras)
