"""The contact sheet in Chromium: opened as a file and served, turned, rejected with a note, made again."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dreamfusion3d.batch import contact_sheet
from dreamfusion3d.batch.review_server import Gallery, ReviewServer
from dreamfusion3d.core import files
from dreamfusion3d.mesh.io.gltf import write_glb
from dreamfusion3d.rendering.turntable import write_thumbnail
from tests.support import fakes
from tests.support.browser import Page, browser, shot
from tests.support.client_asset import EXTRAS, NAME, ball
from tests.support.fakes import run_batch_command, write_fake_item

pytestmark = pytest.mark.clients
fake_workers = fakes.fake_workers
EVIL = "good <svg onload=\"document.title='hacked'\"> =HYPERLINK(1) </script>"
# pixels of the turned picture that are opaque, and their mean colour
SEEN = """(() => { const c = document.querySelector('canvas'); if (!c) return null;
 const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0; const s = [0, 0, 0];
 for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 200) {
  n++; for (let j = 0; j < 3; j++) s[j] += d[i + j];
 }
 return [n / (c.width * c.height), ...s.map(x => x / n)]; })()"""


@pytest.fixture
def batch(fake_workers: None, tmp_path: Path) -> tuple[Path, Path]:
    """Two assets with real GLBs, one of them with a hostile prompt."""
    manifest, out = tmp_path / "m.jsonl", tmp_path / "out"
    rows = [{"prompt": EVIL, "name": "good"}, {"prompt": "a clay ball", "name": "ball"}]
    manifest.write_text("\n".join(map(json.dumps, rows)))
    assert run_batch_command(manifest, out) == 0
    for name in ("good", "ball"):
        folder = out / name
        write_glb(ball(), folder / f"{name}.glb", NAME, EXTRAS)
        write_thumbnail(ball(), folder / "thumbnail.png", 256)
        record = json.loads((folder / "asset.json").read_text())
        record["files"] = {
            p.name: {"sha256": files.file_sha256(p), "bytes": p.stat().st_size}
            for p in (folder / f"{name}.glb", folder / "thumbnail.png")
        }
        files.write_json(folder / "asset.json", record)
    return manifest, out


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with browser(tmp_path) as found:
        yield found


def turned(page: Page) -> None:
    """Dragging shows the ball in 3D, twice as wide as high, and from above more of it than from the side."""
    page.drag(".picture", (1, 0))
    page.until("document.querySelector('canvas') !== null")
    before = page.run(SEEN)
    assert 0.2 < before[0] < 0.7
    page.drag(".picture", (0, 120))
    above = page.run(SEEN)
    assert above[0] > 1.1 * before[0], (before, above)
    page.drag(".picture", (150, 0))
    aside = page.run(SEEN)
    # every axis has its channel of colour
    assert max(abs(a - b) for a, b in zip(above[1:], aside[1:], strict=True)) > 3, (above, aside)


def test_the_sheet_as_a_file(batch: tuple[Path, Path], page: Page, tmp_path: Path) -> None:
    page.open(contact_sheet.write_contact_sheet(batch[1]).as_uri())
    assert page.run("document.querySelectorAll('article').length") == 2
    turned(page)
    shot(page, "file", tmp_path)
    assert page.run("document.title") == "Contact sheet"
    assert EVIL in page.run("document.querySelectorAll('h2')[1].textContent")
    assert not page.problems, page.problems


def test_looked_at_rejected_made_again(batch: tuple[Path, Path], page: Page, tmp_path: Path) -> None:
    manifest, out = batch
    with ReviewServer(Gallery(out, lambda line: None)) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        page.open(server.url)
        turned(page)
        page.click("article:nth-child(2) button.reject")
        page.click("article:nth-child(2) textarea")
        page.type("the handle <b>floats</b>")
        page.until("document.getElementById('state').textContent === 'saved'")
        kept = json.loads((out / "review.json").read_text())["verdicts"]
        assert list(kept) == ["good"] and kept["good"]["note"] == "the handle <b>floats</b>"
        assert kept["good"]["verdict"] == "reject" and kept["good"]["prompt"] == EVIL
        shot(page, "served", tmp_path)
        page.dark()
        shot(page, "served_dark", tmp_path)
        assert run_batch_command(manifest, out, "--retry-rejected") == 0
        page.until("document.querySelectorAll('article.reject').length === 0", 15)
        assert "seed 1" in page.run("document.querySelectorAll('article')[1].textContent")
        assert page.run("document.querySelectorAll('textarea')[1].value") == ""
        assert not page.problems, page.problems
        server.shutdown()


def test_an_empty_folder_says_so(page: Page, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with ReviewServer(Gallery(tmp_path / "out", lambda line: None)) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        page.open(server.url)
        page.until("document.body.textContent.includes('No finished assets yet')")
        write_fake_item(tmp_path / "out", "mug", "a mug")
        page.until("document.querySelectorAll('article').length === 1", 15)
        shot(page, "new", tmp_path)
        server.shutdown()
