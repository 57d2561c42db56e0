"""Control of a running run: step log, pauses and prompt edits; without requests the run stays the same."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dreamfusion3d.cameras.orbit import turntable_cameras
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import QuietProgress
from dreamfusion3d.pipelines import live_control
from dreamfusion3d.pipelines.live_control import (
    ControlRequest,
    LiveControl,
    read_control_request,
    write_control_request,
)
from dreamfusion3d.pipelines.prompt_history import read_edits
from dreamfusion3d.pipelines.step_log import StepLog, read_step_log
from dreamfusion3d.pipelines.workspace import PromptEdit, RunIdentity, Workspace, claim_workspace
from dreamfusion3d.priors.protocol import Prompts, TextEmbedding
from dreamfusion3d.training.loop import Step
from tests.support.pipelines import FakePrior, make_ball

TOTAL = 8


class LengthPrior(FakePrior):
    """Encodes a prompt as its length."""

    def encode_text(self, prompts: list[str]) -> TextEmbedding:
        return TextEmbedding(torch.tensor([[float(len(p))] for p in prompts]))


class FakeStage:
    """A training stage whose steps only record the length of their prompt. Its checkpoint holds only the step."""

    def __init__(self, work: Path, total: int = TOTAL) -> None:
        self.work, self.total = work, total
        self.checkpoint = work / "checkpoint.safetensors"
        self.prompt_lengths: dict[int, int] = {}  # by step
        self.paused_after: list[int] = []
        self.rollback_at: int | None = None  # a step from which the stage goes back by 3
        work.mkdir(parents=True, exist_ok=True)

    def start_steps(self, prompts: Prompts) -> Iterator[Step]:
        index = live_control._checkpoint_index(self.checkpoint)
        while index < self.total:
            index += 1
            self.prompt_lengths[index] = int(prompts.conditioning(turntable_cameras(1)).cond.embedding[0, 0])
            if index == self.rollback_at:
                self.rollback_at, index = None, index - 3
            yield Step(index, self.total, 1.0, 0.5)

    def run(self, after: dict[int, Callable[[], Any]] | None = None, stop: int = 10**9) -> dict[int, int]:
        """Take the steps and call the functions in ``after`` after theirs; return the prompt lengths by step."""
        progress = RecordingProgress()
        control = LiveControl(self.work, "optimize", LengthPrior(), "a ball", Config(), progress)
        while_paused = lambda: self.paused_after.append(max(self.prompt_lengths, default=0))  # noqa: E731
        for step in control.steps(self.start_steps, self.checkpoint, while_paused):
            (after or {}).get(step.index, lambda: None)()
            if step.index == stop:
                break
        self.messages = progress.messages
        return self.prompt_lengths

    def save_checkpoint(self, index: int) -> None:
        save_file({"index": torch.tensor(index)}, self.checkpoint)


class RecordingProgress(QuietProgress):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def log(self, message: str) -> None:
        self.messages.append(message)


def request_prompt(work: Path, prompt: str) -> Callable[[], None]:
    return lambda: write_control_request(work, ControlRequest(False, prompt))


def test_steps_switch_the_prompt_from_the_next_step_on(tmp_path: Path) -> None:
    stage = FakeStage(tmp_path)
    lengths = stage.run({3: request_prompt(tmp_path, "a  long  ball"), 6: request_prompt(tmp_path, "a ball")})
    assert lengths == {1: 6, 2: 6, 3: 6, 4: 11, 5: 11, 6: 11, 7: 6, 8: 6}
    assert read_edits(tmp_path) == [PromptEdit("optimize", 4, "a long ball"), PromptEdit("optimize", 7, "a ball")]
    assert json.loads((tmp_path / "reply.json").read_text())["accepted"] is True


def test_steps_resume_with_the_same_prompts(tmp_path: Path) -> None:
    whole, interrupted = FakeStage(tmp_path / "1"), FakeStage(tmp_path / "2")
    expected = whole.run({4: request_prompt(whole.work, "a long ball")})
    interrupted.run(
        {2: lambda: interrupted.save_checkpoint(2), 4: request_prompt(interrupted.work, "a long ball")}, stop=6
    )
    interrupted.prompt_lengths.clear()
    assert interrupted.run() == {k: v for k, v in expected.items() if k > 2}
    assert read_edits(interrupted.work) == read_edits(whole.work)
    assert [s["step"] for s in read_step_log(interrupted.work)] == list(range(1, TOTAL + 1))


def test_steps_repeat_the_prompts_after_a_rollback(tmp_path: Path) -> None:
    stage = FakeStage(tmp_path)
    stage.rollback_at = 6  # continues with 4
    lengths = stage.run({4: request_prompt(tmp_path, "a long ball")})
    assert lengths[4] == 6 and lengths[5] == 11 and lengths[8] == 11
    assert read_edits(tmp_path) == [PromptEdit("optimize", 5, "a long ball")]


@pytest.mark.parametrize("prompt", ["a quixnar", "", "a\u0007bell", "x" * 2000])
def test_steps_reject_a_bad_prompt_and_keep_the_old_one(prompt: str, tmp_path: Path) -> None:
    stage = FakeStage(tmp_path)
    assert set(stage.run({3: request_prompt(tmp_path, prompt)}).values()) == {6}
    reply = json.loads((tmp_path / "reply.json").read_text())
    assert reply["accepted"] is False and reply["prompt"] == prompt and reply["message"]
    assert len([line for line in stage.messages if "was rejected" in line]) == 1
    assert not (tmp_path / "edits.json").exists()


def test_steps_wait_while_paused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_control, "PAUSE_POLL_SECONDS", 0.01)
    stage = FakeStage(tmp_path)
    thread = threading.Thread(
        target=stage.run, args=({3: lambda: write_control_request(tmp_path, ControlRequest(paused=True))},), daemon=True
    )
    thread.start()
    end = time.monotonic() + 10
    while max(stage.prompt_lengths, default=0) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.2)
    assert thread.is_alive() and max(stage.prompt_lengths) == 3
    write_control_request(tmp_path, ControlRequest(paused=True, prompt="a long ball"))
    time.sleep(0.2)
    assert max(stage.prompt_lengths) == 3
    write_control_request(tmp_path, ControlRequest(paused=False, prompt="a long ball"))
    thread.join(10)
    assert not thread.is_alive() and stage.prompt_lengths[TOTAL] == 11
    assert set(stage.paused_after) == {3} and len(stage.paused_after) > 5  # a viewer of a paused run sees its field


def test_steps_call_while_paused_only_after_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_control, "PAUSE_POLL_SECONDS", 0.01)
    stage = FakeStage(tmp_path)
    write_control_request(tmp_path, ControlRequest(paused=True))
    thread = threading.Thread(target=stage.run, daemon=True)
    thread.start()
    time.sleep(0.2)
    assert thread.is_alive() and not stage.prompt_lengths
    write_control_request(tmp_path, ControlRequest())
    thread.join(10)
    assert not thread.is_alive() and not stage.paused_after and len(stage.prompt_lengths) == TOTAL


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"paused": "yes", "prompt": 3}',
        '{"prompt": "a long ball"}',
        "[" * 100_000,
        '{"paused": false, "prompt": "' + "x" * 100_000 + '"}',
        '{"paused": 1, "prompt": null}',
    ],
)
def test_read_control_request_ignores_damaged_files(text: str, tmp_path: Path) -> None:
    (tmp_path / "control.json").write_text(text)
    assert read_control_request(tmp_path) == ControlRequest()
    assert set(FakeStage(tmp_path).run().values()) == {6}


def test_step_log_is_bounded_and_holds_the_last_step(tmp_path: Path) -> None:
    log = StepLog(tmp_path, "optimize", max_lines=20)
    for index in range(1, 502):
        log.add(Step(index, 501, float("nan"), 0.5, losses={"guidance": 2.0, "init": float("inf")}))
    entries = read_step_log(tmp_path)
    steps = [entry["step"] for entry in entries]
    assert len(steps) <= 21 and steps == sorted(set(steps)) and steps[-1] == 501
    assert len((tmp_path / "steps.jsonl").read_text().splitlines()) == len(steps)
    assert {entry["gradient_norm"] for entry in entries} == {None}
    assert all(entry["losses"] == {"guidance": 2.0, "init": None} for entry in entries)


def test_read_edits_rejects_a_damaged_file(tmp_path: Path) -> None:
    stage = FakeStage(tmp_path)
    stage.run({3: request_prompt(tmp_path, "a long ball")}, stop=5)
    (tmp_path / "edits.json").write_text("[{")
    with pytest.raises(InputError, match="--no-resume"):
        stage.run()


def test_steps_reject_a_damaged_checkpoint_after_an_edit(tmp_path: Path) -> None:
    stage = FakeStage(tmp_path)
    stage.run({3: request_prompt(tmp_path, "a long ball"), 6: lambda: stage.save_checkpoint(6)}, stop=7)
    original = stage.start_steps
    other = FakeStage(tmp_path / "other")
    stage.start_steps = other.start_steps  # type: ignore[method-assign]
    with pytest.raises(InputError, match="starts over"):
        stage.run()
    assert not stage.checkpoint.exists()
    stage.start_steps = original  # type: ignore[method-assign]
    stage.prompt_lengths.clear()
    assert stage.run() == {i: 6 if i < 4 else 11 for i in range(1, TOTAL + 1)}


def test_text_to_mesh_without_requests_records_no_edits(untrained: None, tmp_path: Path) -> None:
    asset = make_ball(tmp_path)
    assert asset.record.edits is None
    work = asset.folder / "work"
    assert not [n for n in ("control.json", "edits.json", "reply.json") if (work / n).exists()]
    assert [s["step"] for s in read_step_log(work)] == [1, 2, 3]
    assert json.loads((work / "settings.json").read_text())["init"] == "blob"


def test_text_to_mesh_edited_asset_is_another_asset(untrained: None, tmp_path: Path) -> None:
    first = make_ball(tmp_path)
    (first.folder / "asset.json").unlink()
    (first.folder / "work" / "field.safetensors").unlink()
    write_control_request(first.folder / "work", ControlRequest(prompt="a large ball"))
    edited = make_ball(tmp_path)
    assert edited.folder == first.folder
    assert edited.record.edits == [{"stage": "optimize", "step": 1, "prompt": "a large ball"}]
    before = (edited.folder / "asset.json").read_bytes()
    plain = make_ball(tmp_path)
    assert plain.folder != edited.folder and plain.record.edits is None
    assert make_ball(tmp_path) == plain
    assert (edited.folder / "asset.json").read_bytes() == before


def test_claim_workspace_keeps_assets_under_both_names(tmp_path: Path) -> None:
    identity = RunIdentity("a ball", 0, Config(), "0" * 64)
    folders = []
    for _ in range(3):
        with claim_workspace(tmp_path, identity) as workspace:
            workspace.begin(identity, False)
            workspace.run_info_path.write_text(json.dumps({"digest": f"another {len(folders)}"}))
            folders.append(workspace.folder)
    assert len(set(folders)) == 3
    assert all(Workspace(folder).owner_digest() == f"another {i}" for i, folder in enumerate(folders))
