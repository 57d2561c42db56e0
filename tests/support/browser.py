"""Chromium, driven over the pipe of its DevTools protocol: no library, no port, nobody else can reach it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.programs import program

SECONDS = 60.0

BUTTON = "[...document.querySelectorAll('button')].find(b => b.textContent.trim() === {name})"


class Page:
    """One tab. Messages are JSON with a zero byte behind each."""

    def __init__(self, to: int, back: int) -> None:
        self.to, self.back, self.count, self.rest = to, back, 0, b""
        self.session: str | None = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.ask("Page.enable")
        self.problems: list[str] = []
        self.ask("Runtime.enable")
        self.ask("Log.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.count += 1
        message: dict[str, Any] = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self.count:
                assert "error" not in found, (method, found["error"])
                return found["result"]
            level = found.get("params", {}).get("entry", {}).get("level")
            if found.get("method") == "Runtime.exceptionThrown" or level == "error":
                self.problems.append(json.dumps(found["params"])[:2000])

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + SECONDS
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.back], [], [], max(0, end - time.monotonic()))
            assert ready, f"Chromium said nothing for {SECONDS:g} s"
            part = os.read(self.back, 1 << 20)
            assert part, "Chromium has ended"
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def open(self, url: str) -> None:
        self.ask("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression, or of the promise that it is."""
        found = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, condition: str, seconds: float = SECONDS) -> None:
        end = time.monotonic() + seconds
        while not self.run(condition):
            assert time.monotonic() < end, f"never: {condition}; {self.problems}"
            time.sleep(0.1)

    def drag(self, selector: str, by: tuple[int, int]) -> None:
        """With the mouse, from the middle of the first element that fits."""
        x, y = self.middle(selector)
        mouse = {"button": "left", "clickCount": 1}
        self.ask("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, **mouse)
        for i in range(1, 6):
            to = {"x": x + by[0] * i / 5, "y": y + by[1] * i / 5}
            self.ask("Input.dispatchMouseEvent", type="mouseMoved", buttons=1, button="left", **to)
        self.ask("Input.dispatchMouseEvent", type="mouseReleased", x=x + by[0], y=y + by[1], **mouse)

    def click(self, selector: str) -> None:
        self.drag(selector, (0, 0))

    def middle(self, selector: str) -> tuple[float, float]:
        box = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        return box[0], box[1]

    def type(self, text: str) -> None:
        self.ask("Input.insertText", text=text)

    def screenshot(self, path: Path) -> Path:
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))
        return path

    def dark(self, on: bool = True) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if on else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme, still])


@contextlib.contextmanager
def browser(folder: Path, size: str = "1100,900") -> Iterator[Page]:
    """A fresh Chromium with its profile in ``folder``; things do not move of themselves."""
    chromium = program("chromium", "chromium-browser", "google-chrome")
    theirs, to = os.pipe()
    back, mine = os.pipe()
    # Chromium reads from descriptor 3 and writes to 4; a shell's redirections put them there
    line = f'exec "$@" 3<&{theirs} 4>&{mine}'
    process = subprocess.Popen(
        [
            "bash",
            "-c",
            line,
            "chromium",
            chromium,
            "--headless=new",
            "--no-sandbox",
            "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader",
            "--force-device-scale-factor=1",
            f"--window-size={size}",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
            f"--user-data-dir={folder / 'profile'}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(theirs, mine),
    )
    os.close(theirs)
    os.close(mine)
    try:
        page = Page(to, back)
        page.dark(False)
        yield page
    finally:
        os.close(to)
        os.close(back)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        process.kill()
        process.wait(timeout=20)


def shot(page: Page, name: str, tmp_path: Path) -> None:
    """Kept where DREAMFUSION3D_SCREENSHOTS says, to be looked at."""
    folder = Path(os.environ.get("DREAMFUSION3D_SCREENSHOTS", tmp_path))
    assert page.screenshot(folder / f"{name}.png").stat().st_size > 5000


def press(page: Page, name: str) -> None:
    page.run(f"{BUTTON.format(name=json.dumps(name))}.click()")


def fields(page: Page) -> str:
    return page.run("[...document.querySelectorAll('input, textarea')].map(e => e.value).join('\\n')")
