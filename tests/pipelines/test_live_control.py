"""A run that is watched: its log, pauses, other prompts; and that nothing changes when nobody asks."""

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
    read_edits,
    read_step_log,
    write_control_request,
)
from dreamfusion3d.pipelines.workspace import PromptEdit, RunIdentity, Workspace, claim_workspace
from dreamfusion3d.priors.protocol import Prompts, TextEmbedding
from dreamfusion3d.training.loop import Step
from tests.pipelines import test_text_to_mesh as test_pipeline
from tests.pipelines.test_text_to_mesh import make

quick = test_pipeline.quick
TOTAL = 8


class Lengths(test_pipeline.FakePrior):
    """Encodes a prompt as its length."""

    def encode_text(self, prompts: list[str]) -> TextEmbedding:
        return TextEmbedding(torch.tensor([[float(len(p))] for p in prompts]))


class Run:
    """Steps that only note what they are asked, with a checkpoint of their number."""

    def __init__(self, work: Path, total: int = TOTAL) -> None:
        self.work, self.total = work, total
        self.checkpoint = work / "checkpoint.safetensors"
        self.asked: dict[int, int] = {}
        self.waited: list[int] = []
        self.setback: int | None = None
        self.norm = 1.0
        work.mkdir(parents=True, exist_ok=True)

    def begin(self, text: Prompts) -> Iterator[Step]:
        index = live_control._checkpoint_index(self.checkpoint)
        while index < self.total:
            index += 1
            self.asked[index] = int(text.conditioning(turntable_cameras(1)).cond.embedding[0, 0])
            if index == self.setback:
                self.setback, index = None, index - 3
            yield Step(index, self.total, self.norm, 0.5)

    def go(self, after: dict[int, Callable[[], Any]] | None = None, stop: int = 10**9) -> dict[int, int]:
        """Takes the steps; ``after`` some of them something happens. What each was asked."""
        said = Said()
        steps = LiveControl(self.work, "optimise", Lengths(), "a ball", Config(), said).steps(
            self.begin, self.checkpoint, lambda: self.waited.append(max(self.asked, default=0))
        )
        for step in steps:
            (after or {}).get(step.index, lambda: None)()
            if step.index == stop:
                break
        self.said = said.lines
        return self.asked

    def keep(self, index: int) -> None:
        save_file({"index": torch.tensor(index)}, self.checkpoint)


class Said(QuietProgress):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def log(self, message: str) -> None:
        self.lines.append(message)


def want(work: Path, prompt: str) -> Callable[[], None]:
    return lambda: write_control_request(work, ControlRequest(False, prompt))


def test_a_new_prompt_counts_from_the_next_step_on(tmp_path: Path) -> None:
    run = Run(tmp_path)
    asked = run.go({3: want(tmp_path, "a  long  ball"), 6: want(tmp_path, "a ball")})
    assert asked == {1: 6, 2: 6, 3: 6, 4: 11, 5: 11, 6: 11, 7: 6, 8: 6}
    assert read_edits(tmp_path) == [PromptEdit("optimise", 4, "a long ball"), PromptEdit("optimise", 7, "a ball")]
    assert json.loads((tmp_path / "reply.json").read_text())["accepted"] is True


def test_a_resumed_run_asks_the_same(tmp_path: Path) -> None:
    whole, broken = Run(tmp_path / "1"), Run(tmp_path / "2")
    expected = whole.go({4: want(whole.work, "a long ball")})
    broken.go({2: lambda: broken.keep(2), 4: want(broken.work, "a long ball")}, stop=6)
    broken.asked.clear()
    assert broken.go() == {k: v for k, v in expected.items() if k > 2}
    assert read_edits(broken.work) == read_edits(whole.work)
    assert [s["step"] for s in read_step_log(broken.work)] == list(range(1, TOTAL + 1))


def test_after_a_setback_the_same_prompts_come_again(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.setback = 6  # goes on with 4
    asked = run.go({4: want(tmp_path, "a long ball")})
    assert asked[4] == 6 and asked[5] == 11 and asked[8] == 11
    assert read_edits(tmp_path) == [PromptEdit("optimise", 5, "a long ball")]


@pytest.mark.parametrize("prompt", ["a quixnar", "", "a\u0007bell", "x" * 2000])
def test_a_prompt_that_is_refused_changes_nothing(prompt: str, tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert set(run.go({3: want(tmp_path, prompt)}).values()) == {6}
    reply = json.loads((tmp_path / "reply.json").read_text())
    assert reply["accepted"] is False and reply["prompt"] == prompt and reply["message"]
    assert len([line for line in run.said if "not taken" in line]) == 1
    assert not (tmp_path / "edits.json").exists()


def test_pause_holds_the_run_until_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_control, "PAUSE_POLL_SECONDS", 0.01)
    run = Run(tmp_path)
    at = threading.Thread(
        target=run.go, args=({3: lambda: write_control_request(tmp_path, ControlRequest(paused=True))},), daemon=True
    )
    at.start()
    end = time.monotonic() + 10
    while max(run.asked, default=0) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.2)
    assert at.is_alive() and max(run.asked) == 3
    write_control_request(tmp_path, ControlRequest(paused=True, prompt="a long ball"))
    time.sleep(0.2)
    assert max(run.asked) == 3
    write_control_request(tmp_path, ControlRequest(paused=False, prompt="a long ball"))
    at.join(10)
    assert not at.is_alive() and run.asked[TOTAL] == 11
    assert set(run.waited) == {3} and len(run.waited) > 5  # whoever looks at a run that waits sees its field


def test_nobody_is_shown_a_field_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_control, "PAUSE_POLL_SECONDS", 0.01)
    run = Run(tmp_path)
    write_control_request(tmp_path, ControlRequest(paused=True))
    at = threading.Thread(target=run.go, daemon=True)
    at.start()
    time.sleep(0.2)
    assert at.is_alive() and not run.asked
    write_control_request(tmp_path, ControlRequest())
    at.join(10)
    assert not at.is_alive() and not run.waited and len(run.asked) == TOTAL


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
def test_a_control_file_that_is_none_asks_for_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "control.json").write_text(text)
    assert read_control_request(tmp_path) == ControlRequest()
    assert set(Run(tmp_path).go().values()) == {6}


def test_the_log_is_bounded_and_reaches_the_last_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_control, "MAX_LOG_LINES", 20)
    run = Run(tmp_path, total=501)
    run.norm = float("nan")
    run.go()
    steps = [s["step"] for s in read_step_log(tmp_path)]
    assert len(steps) <= 21 and steps == sorted(set(steps)) and steps[-1] == 501
    assert len((tmp_path / "steps.jsonl").read_text().splitlines()) == len(steps)
    assert {s["gradient_norm"] for s in read_step_log(tmp_path)} == {None}


def test_damaged_edits_are_no_undisturbed_run(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.go({3: want(tmp_path, "a long ball")}, stop=5)
    (tmp_path / "edits.json").write_text("[{")
    with pytest.raises(InputError, match="--no-resume"):
        run.go()


def test_a_checkpoint_that_lies_about_its_step_is_not_trained_on(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.go({3: want(tmp_path, "a long ball"), 6: lambda: run.keep(6)}, stop=7)
    plain, run.begin = run.begin, lambda text: Run(tmp_path / "other").begin(text)  # type: ignore[method-assign]
    with pytest.raises(InputError, match="starts over"):
        run.go()
    assert not run.checkpoint.exists()
    run.begin = plain  # type: ignore[method-assign]
    run.asked.clear()
    assert run.go() == {i: 6 if i < 4 else 11 for i in range(1, TOTAL + 1)}


# --- the whole folder -----------------------------------------------------------------------------


def test_unwatched_there_is_no_trace_in_the_record(quick: None, tmp_path: Path) -> None:
    asset = make(tmp_path)
    assert asset.record.edits is None
    work = asset.folder / "work"
    assert not [n for n in ("control.json", "edits.json", "reply.json") if (work / n).exists()]
    assert [s["step"] for s in read_step_log(work)] == [1, 2, 3]
    assert json.loads((work / "settings.json").read_text())["start"] == "blob"


def test_an_edited_asset_is_never_taken_for_the_plain_one(quick: None, tmp_path: Path) -> None:
    first = make(tmp_path)
    (first.folder / "asset.json").unlink()
    (first.folder / "work" / "field.safetensors").unlink()
    write_control_request(first.folder / "work", ControlRequest(prompt="a large ball"))
    edited = make(tmp_path)
    assert edited.folder == first.folder
    assert edited.record.edits == [{"stage": "optimise", "step": 1, "prompt": "a large ball"}]
    kept = (edited.folder / "asset.json").read_bytes()
    plain = make(tmp_path)
    assert plain.folder != edited.folder and plain.record.edits is None
    assert make(tmp_path) == plain
    assert (edited.folder / "asset.json").read_bytes() == kept


def test_edited_assets_under_both_names_are_kept(tmp_path: Path) -> None:
    identity = RunIdentity("a ball", 0, Config(), "0" * 64)
    taken = []
    for _ in range(3):
        with claim_workspace(tmp_path, identity) as space:
            space.begin(identity, False)
            space.run_info_path.write_text(json.dumps({"digest": f"another {len(taken)}"}))
            taken.append(space.folder)
    assert len(set(taken)) == 3
    assert all(Workspace(folder).owner_digest() == f"another {i}" for i, folder in enumerate(taken))
