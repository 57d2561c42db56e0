"""A run in Chromium: its field, paused, given another prompt, finished; and nobody without the token."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dreamfusion3d.core import files
from dreamfusion3d.core.config import Config, config_to_dict, override_config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.local_auth import LOOPBACK_HOST, LocalAuth
from dreamfusion3d.mesh.io.gltf import write_glb
from dreamfusion3d.pipelines.live_control import ControlRequest, read_control_request
from dreamfusion3d.viewer.app import Viewer
from dreamfusion3d.viewer.proxy import guarded_server
from tests.support.browser import BUTTON, browser, fields, press, shot
from tests.support.client_asset import EXTRAS, NAME, ball

pytestmark = pytest.mark.clients
EVIL = "a ball <img src=x onerror=\"document.title='hacked'\"> **{1+1}**"
SMALL = {"field.num_levels": 4, "field.log2_table_size": 10, "field.max_resolution": 16, "field.hidden_dim": 16}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run in its middle: the field is the blob that it began with."""
    folder, config = tmp_path / "out" / "ball", override_config(Config(), SMALL)
    work = folder / "work"
    work.mkdir(parents=True)
    field = NerfField(config.field, generator=torch.Generator().manual_seed(0))
    state = {f"field.{k}": v.detach().contiguous() for k, v in field.state_dict().items()}
    save_file({**state, "index": torch.tensor(50)}, work / "checkpoint.safetensors")
    files.write_json(
        work / "settings.json",
        {
            "prompt": EVIL,
            "seed": 0,
            "config": config_to_dict(config),
            "init": "blob",
            "prior": {"name": "fake", "sha256": "0" * 64},
        },
    )
    lines = [
        {"stage": "optimize", "step": i, "total": 150, "gradient_norm": 1 / i, "seconds": 0.5} for i in range(1, 61)
    ]
    (work / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    iio.imwrite(work / "preview.png", np.full((128, 512, 3), 180, np.uint8))
    return folder


@pytest.fixture
def served(run: Path) -> Iterator[tuple[LocalAuth, Path, list[str]]]:
    pytest.importorskip("viser")
    said: list[str] = []
    ended = threading.Event()
    with guarded_server(0, "test") as (server, guard):
        window = Viewer(server, run, said.append)

        def look() -> None:
            while not ended.wait(0.1):
                window.refresh()

        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        yield guard, run, said
        ended.set()
        looking.join(20)


def eventually(found: Any, wanted: Any) -> None:
    end = time.monotonic() + 20
    while found() != wanted:
        assert time.monotonic() < end, (found(), wanted)
        time.sleep(0.05)


def test_a_run_is_shown_paused_and_given_another_prompt(
    served: tuple[LocalAuth, Path, list[str]], tmp_path: Path
) -> None:
    guard, run, said = served
    with browser(tmp_path, "1400,900") as page:
        page.open(guard.url)
        page.until(f"!!{BUTTON.format(name=json.dumps('Pause'))}")
        page.until("document.body.textContent.includes('Showing the last saved field')")
        page.until("!!document.querySelector('.uplot canvas') && !!document.querySelector('img')")
        assert "step 60 of 150" in fields(page) and EVIL in fields(page)
        time.sleep(2)  # the scene is drawn by the frame, with no event to wait for
        shot(page, "view", tmp_path)
        press(page, "Pause")
        eventually(lambda: read_control_request(run / "work"), ControlRequest(True, None))
        press(page, "Resume")
        eventually(lambda: read_control_request(run / "work"), ControlRequest(False, None))
        page.run("(() => { const e = document.querySelector('textarea'); e.focus(); e.select(); })()")
        page.type("a large ball")
        time.sleep(1)
        press(page, "Use this prompt")
        eventually(lambda: read_control_request(run / "work"), ControlRequest(False, "a large ball"))
        files.write_json(
            run / "work" / "reply.json", {"prompt": "a large ball", "accepted": False, "message": EVIL, "step": 61}
        )
        page.until("[...document.querySelectorAll('textarea')].some(e => e.value.startsWith('rejected'))")
        write_glb(ball(), run / "ball.glb", NAME, EXTRAS)
        files.write_json(run / "asset.json", {"prompt": EVIL, "files": {"ball.glb": {}}})
        page.until("document.body.textContent.includes('the finished asset')")
        assert "finished" in fields(page)
        time.sleep(2)
        shot(page, "view_finished", tmp_path)
        assert page.run("document.title") != "hacked" and not said
        # a picture that viser's page has put away while it was still being read
        assert not [p for p in page.problems if '"url": "blob:' not in p], page.problems


def answer(guard: LocalAuth, path: str, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(LOOPBACK_HOST, guard.port, timeout=20)
    connection.putrequest("GET", path, skip_host=True)
    for name, value in {"Host": f"{LOOPBACK_HOST}:{guard.port}", **headers}.items():
        connection.putheader(name, value)
    connection.endheaders()
    found = connection.getresponse()
    return found.status, found.read()


def test_nobody_comes_in_without_the_token(served: tuple[LocalAuth, Path, list[str]]) -> None:
    guard = served[0]
    socket = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol": "viser-v1.1.1",
    }
    good = f"/{guard.token}/"
    assert answer(guard, good)[0] == 200
    for path in ("/", "/index.html", f"/{guard.token[:-1]}/", f"/x{good}", f"/?{guard.token}", "//"):
        assert answer(guard, path)[0] == 403, path
        assert answer(guard, path, **socket)[0] == 403, path
    for more in ({}, socket):
        assert answer(guard, good, **{**more, "Host": "evil.example"})[0] == 403
        assert answer(guard, good, **{**more, "Host": f"evil.example:{guard.port}"})[0] == 403
        assert answer(guard, good, **more, Origin="https://evil.example")[0] == 403
        assert answer(guard, good, **more, Origin="null")[0] == 403
    assert answer(guard, f"{good}%2e%2e/%2e%2e/%2e%2e/__init__.py")[0] == 404


def test_a_port_that_is_taken_is_said(served: tuple[LocalAuth, Path, list[str]]) -> None:
    with pytest.raises(InputError, match="in use"), guarded_server(served[0].port, "again"):
        pass
