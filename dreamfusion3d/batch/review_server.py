"""Server of the contact sheet on loopback: saves verdicts immediately and shows assets as they finish.

`LocalAuth` checks every request. Only the page and the files listed in an asset.json are served.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from dreamfusion3d.batch import contact_sheet, reviews
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.local_auth import LOOPBACK_HOST, SECURITY_HEADERS, LocalAuth
from dreamfusion3d.pipelines.workspace import Workspace, read_asset_record

MAX_BODY_BYTES = 256 << 10  # a note of MAX_NOTE_CHARS characters in any script
REQUEST_TIMEOUT_SECONDS = 30.0
MEDIA_TYPES = {".glb": "model/gltf-binary", ".png": "image/png", ".mp4": "video/mp4"}  # other types are downloaded


class Gallery:
    """The current assets and verdicts of a folder; thread-safe."""

    def __init__(self, out: Path, say: Callable[[str], None]) -> None:
        self.out, self.say = out, say
        self.lock = threading.Lock()
        self.revision = 0
        self.cards: dict[str, tuple[tuple[int, int], contact_sheet.Card | None, int]] = {}
        self.removed: dict[str, int] = {}
        self.review = reviews.ReviewLog()
        self.review_revision = 0  # in which the verdicts last changed

    def rescan(self) -> None:
        """Update to the current content of the folder."""
        with self.lock:
            revision = self.revision + 1
            present = set()
            for folder in contact_sheet.asset_folders(self.out):
                try:
                    status = (folder / "asset.json").stat()
                except OSError:
                    continue
                present.add(folder.name)
                stamp = (status.st_mtime_ns, status.st_size)
                if folder.name not in self.cards or self.cards[folder.name][0] != stamp:
                    self.cards[folder.name] = (stamp, contact_sheet.read_card(folder), revision)
                    self.removed.pop(folder.name, None)
                    self.revision = revision
            for name in self.cards.keys() - present:
                del self.cards[name]
                self.removed[name] = self.revision = revision
            review = reviews.read_reviews(self.out)
            if review != self.review:
                self.review, self.review_revision, self.revision = review, revision, revision

    def render_page(self) -> str:
        self.rescan()
        cards = [card for _, card, _ in self.cards.values() if card]
        return contact_sheet.render_contact_sheet(self.out, cards, self.review, served=True)

    def changes_since(self, since: int) -> dict[str, Any]:
        """Return the changes after revision ``since``."""
        self.rescan()
        with self.lock:
            broken = {name for name, (_, card, _) in self.cards.items() if card is None}
            damage = self.review.damage
            return {
                "revision": self.revision,
                "assets": [card for _, card, at in self.cards.values() if card and at > since],
                "gone": sorted({n for n, at in self.removed.items() if at > since} | broken),
                "verdicts": self.review.decisions if self.review_revision > since else None,
                "damage": damage and f"review.json is damaged ({damage}); the next verdict backs it up",
            }

    def record_decision(self, change: Any) -> None:
        """Save a verdict or a note. Raises InputError if it is invalid or the asset has changed."""
        if not isinstance(change, dict) or not isinstance(change.get("name"), str):
            raise InputError("a verdict must be an object with the name of an asset")
        self.rescan()
        card = self.cards.get(change["name"], (None, None, 0))[1]
        if card is None or card["sha256"] != change.get("sha256"):
            raise InputError(f"{change['name']} has been remade or removed; review the new asset")
        facts = {"prompt": card["prompt"], "seed": card["seed"]}
        with reviews.edit_reviews(self.out, self.say) as review:
            reviews.apply_decision(review, card["name"], card["sha256"], change, facts)

    def find_file(self, name: str, file: str) -> Path | None:
        """Return a file listed in the asset's record; None for any other, or a link that leads elsewhere."""
        path = self.out / name / file
        if name not in self.cards or Path(file).name != file:
            return None
        listed = (read_asset_record(Workspace(path.parent)) or {}).get("files")
        if not isinstance(listed, dict) or file not in listed or not path.is_file():
            return None
        return path if path.resolve().parent == self.out.resolve() / name else None


class ReviewServer(ThreadingHTTPServer):
    """Serves a gallery on loopback; ``url`` contains the token that every request needs."""

    daemon_threads = True

    def __init__(self, gallery: Gallery, port: int = 0) -> None:
        self.gallery, self.guard = gallery, LocalAuth("dreamfusion3d review")
        try:
            super().__init__((LOOPBACK_HOST, port), _Handler)
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(f"cannot listen on port {port}: {reason}; choose another with --port") from None
        self.guard.port = self.server_port

    @property
    def url(self) -> str:
        return self.guard.url

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: a browser may close its connection in the middle of a video."""


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    timeout = REQUEST_TIMEOUT_SECONDS
    server_version, sys_version = "dreamfusion3d", ""

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        if (path := self._authorized_path()) is None:
            return
        gallery, (bare, _, query) = self.server.gallery, path.partition("?")
        pieces = [unquote(piece) for piece in bare.split("/")]
        if pieces == [""]:
            self._send(gallery.render_page().encode(), "text/html; charset=utf-8")
        elif pieces == ["news"]:
            since = int(query[6:]) if re.fullmatch(r"since=\d{1,9}", query) else 0
            self._send(json.dumps(gallery.changes_since(since)).encode(), "application/json")
        elif len(pieces) == 2 and (file := gallery.find_file(*pieces)) is not None:
            self._send_file(file)
        else:
            self._send_error(404, "not found")

    def do_POST(self) -> None:
        if (path := self._authorized_path()) is None:
            return
        length = self.headers.get("Content-Length") or ""
        if path != "verdict" or self.headers.get_content_type() != "application/json":
            return self._send_error(404, "not found")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            return self._send_error(413, "too large")
        try:
            self.server.gallery.record_decision(json.loads(self.rfile.read(int(length))))
        except InputError as error:
            return self._send_error(409, str(error))
        except (ValueError, RecursionError):
            return self._send_error(400, "not JSON")
        except OSError as error:
            return self._send_error(507, f"review.json cannot be written: {error.strerror}")
        self._send(b"{}", "application/json")

    def _authorized_path(self) -> str | None:
        """Return the path after the token; or refuse the request and return None."""
        guard, headers = self.server.guard, self.headers
        reason = guard.refusal_reason(self.path, headers.get_all("Host", []), headers.get_all("Origin", []))
        if reason is None:
            return guard.strip_token(self.path).removeprefix("/")
        self._send_error(403, reason)
        return None

    def _send_error(self, code: int, reason: str) -> None:
        self.close_connection = True
        self._send(reason.encode(), "text/plain; charset=utf-8", code)

    def _send(self, body: bytes, content_type: str, code: int = 200) -> None:
        self._send_headers(code, content_type, len(body))
        self.wfile.write(body)

    def _send_headers(self, code: int, content_type: str, length: int, extra: dict[str, str] | None = None) -> None:
        self.send_response(code)
        headers = {"Content-Type": content_type, "Content-Length": str(length), **SECURITY_HEADERS}
        for name, value in {**headers, "Cross-Origin-Resource-Policy": "same-origin", **(extra or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_file(self, path: Path) -> None:
        """Send a file or the requested range: browsers seek in videos."""
        content_type = MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")
        with open(path, "rb") as stream:
            size = path.stat().st_size
            byte_range = re.fullmatch(r"bytes=(\d{1,18})-(\d{0,18})", self.headers.get("Range") or "")
            first, last = 0, size - 1
            if byte_range:
                first, last = int(byte_range[1]), min(int(byte_range[2] or last), last)
            if byte_range and first > last:
                return self._send_error(416, "range beyond the end of the file")
            ranges = {"Accept-Ranges": "bytes"} | (
                {"Content-Range": f"bytes {first}-{last}/{size}"} if byte_range else {}
            )
            self._send_headers(206 if byte_range else 200, content_type, last - first + 1, ranges)
            if byte_range:
                stream.seek(first)
                self.wfile.write(stream.read(last - first + 1))
            else:
                shutil.copyfileobj(stream, self.wfile)
        return None
