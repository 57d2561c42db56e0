"""A real run, watched in a real browser: paused, given another prompt, and finished with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from dreamfusion3d.pipelines.live_control import ControlRequest, write_control_request
from tests.support.browser import Page, browser, fields, press, shot

pytestmark = pytest.mark.clients
ROOT = Path(__file__).parents[2]
PROMPT, OTHER = "a red mug", "a blue mug"
SMALL = (
    "optim.steps=600",
    "field.init=volume",
    "optim.num_views=1",
    "mesh.grid_resolution=32",
    "mesh.max_faces=400",
    "mesh.texture_size=32",
)
SECONDS = 300.0  # beside other work


def program(out: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from dreamfusion3d.cli.main import main; main()", *words],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=open(out.with_suffix(".log"), "w"),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """A run, and the view of it."""
    started: list[subprocess.Popen[str]] = []
    try:
        sets = [word for pair in SMALL for word in ("--set", pair)]
        started.append(program(tmp_path / "run", "generate", PROMPT, "--out", str(tmp_path / "out"), *sets))
        work = tmp_path / "out" / "a_red_mug" / "work"
        wait(lambda: (work / "steps.jsonl").exists(), started[0])
        write_control_request(
            work, ControlRequest(paused=True)
        )  # before the browser starts, which can take as long as the run
        words = ("view", str(tmp_path / "out" / "a_red_mug"), "--no-browser")
        started.append(program(tmp_path / "view", *words))
        yield started
    finally:
        for process in started:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def wait(found: Callable[[], bool], run: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + SECONDS
    while not found():
        assert run is None or run.poll() is None, "the run has ended"
        assert time.monotonic() < end
        time.sleep(0.05)


def says(page: Page, words: str) -> Callable[[], bool]:
    return lambda: words in fields(page) or bool(page.run(f"document.body.textContent.includes({json.dumps(words)})"))


def test_a_prompt_that_is_edited_live_is_what_gets_finished(
    programs: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    pytest.importorskip("viser")
    run, view = programs
    folder = tmp_path / "out" / "a_red_mug"
    assert view.stdout and run.stdout
    address = view.stdout.readline().strip()
    with browser(tmp_path, "1400,900") as page:
        page.open(address)
        wait(says(page, ", paused"), run)
        wait(says(page, " field, "), run)
        page.run("(() => { const e = document.querySelector('textarea'); e.focus(); e.select(); })()")
        page.type(OTHER)
        time.sleep(1)
        press(page, "Use this prompt")
        wait(says(page, "in use from step"), run)
        shot(page, "view_run", tmp_path)
        press(page, "Resume")
        wait(lambda: run.poll() is not None)
        wait(says(page, "the finished asset"))
        shot(page, "view_run_finished", tmp_path)
    assert run.returncode == 0 and run.stdout.read().strip() == str(folder / "a_red_mug.glb")
    record = json.loads((folder / "asset.json").read_text())
    assert record["prompt"] == PROMPT
    assert [(e["stage"], e["prompt"]) for e in record["edits"]] == [("optimize", OTHER)]
    assert 1 < record["edits"][0]["step"] < 600
    assert not (folder / "work" / "live.safetensors").exists()
    assert hue(folder / "thumbnail.png") == "bluer" == "bluer"


def hue(picture: Path) -> str:
    """Whether what is coloured in it has more blue than red; its background is grey."""
    import imageio.v3 as iio

    pixels = iio.imread(picture)[..., :3].astype(float)
    shown = pixels[np.ptp(pixels, axis=-1) > 40]
    assert len(shown) > 1000
    return "bluer" if shown[:, 2].mean() > shown[:, 0].mean() else "redder"
