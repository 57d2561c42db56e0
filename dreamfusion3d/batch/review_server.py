"""The contact sheet served on loopback: verdicts are kept at once, and finished assets appear.

Every request passes `loopback.Guard`. Nothing is served but the page and the files that an asset.json of
the folder lists.
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
from dreamfusion3d.local_auth import LOOPBACK_HOST, LocalAuth
from dreamfusion3d.pipelines.workspace import Workspace, read_asset_record

MAX_BODY_BYTES = 256 << 10  # bytes: a note of LONGEST_NOTE characters in any script
REQUEST_TIMEOUT_SECONDS = 30.0  # for a request, before its connection is dropped
MEDIA_TYPES = {".glb": "model/gltf-binary", ".png": "image/png", ".mp4": "video/mp4"}  # others are downloaded


class Gallery:
    """The assets and verdicts of a folder, as they are now; asked by many threads."""

    def __init__(self, out: Path, say: Callable[[str], None]) -> None:
        self.out, self.say = out, say
        self.lock = threading.Lock()
        self.revision = 0
        self.cards: dict[str, tuple[tuple[int, int], contact_sheet.Card | None, int]] = {}
        self.removed: dict[str, int] = {}
        self.review = reviews.ReviewLog()
        self.review_revision = 0  # the revision in which the verdicts changed last

    def rescan(self) -> None:
        """Looks for what has changed in the folder since the last look."""
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
        """What changed after revision ``since``."""
        self.rescan()
        with self.lock:
            broken = {name for name, (_, card, _) in self.cards.items() if card is None}
            damage = self.review.damage
            if damage is not None:
                damage = f"review.json is damaged ({damage}); it will be kept aside"
            return {
                "revision": self.revision,
                "assets": [card for _, card, at in self.cards.values() if card and at > since],
                "gone": sorted({n for n, at in self.removed.items() if at > since} | broken),
                "verdicts": self.review.decisions if self.review_revision > since else None,
                "damage": damage,
            }

    def record_decision(self, change: Any) -> None:
        """Keeps a verdict or a note. Raises InputError where it is none, or of no asset that is here."""
        if not isinstance(change, dict) or not isinstance(change.get("name"), str):
            raise InputError("a verdict is an object with the name of an asset")
        self.rescan()
        card = self.cards.get(change["name"], (None, None, 0))[1]
        if card is None or card["sha256"] != change.get("sha256"):
            raise InputError(f"{change['name']}: not this asset any more; look at the new one first")
        facts = {"prompt": card["prompt"], "seed": card["seed"]}
        with reviews.edit_reviews(self.out, self.say) as review:
            reviews.apply_decision(review, card["name"], card["sha256"], change, facts)

    def find_file(self, name: str, file: str) -> Path | None:
        """A file that the asset's report lists; None for every other, and for links that lead elsewhere."""
        folder = self.out / name
        if name not in self.cards or Path(file).name != file:
            return None
        record = read_asset_record(Workspace(folder)) or {}
        listed = record.get("files")
        path = folder / file
        if not isinstance(listed, dict) or file not in listed or not path.is_file():
            return None
        return path if path.resolve().parent == self.out.resolve() / name else None


class ReviewServer(ThreadingHTTPServer):
    """Serves ``gallery`` on loopback; ``url`` has the token that every request needs."""

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
        """A browser that leaves in the middle of a film is no event."""


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    timeout = REQUEST_TIMEOUT_SECONDS
    server_version, sys_version = "dreamfusion3d", ""

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        path = self._authorized_path()
        if path is None:
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
            self._send_error(404, "no such file")

    def do_POST(self) -> None:
        path = self._authorized_path()
        if path is None:
            return
        length = self.headers.get("Content-Length") or ""
        if path != "verdict" or self.headers.get_content_type() != "application/json":
            return self._send_error(404, "no such place")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            return self._send_error(413, "too long")
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
        """What follows the token; None, and the request refused, when it may not come in."""
        guard = self.server.guard
        hosts, origins = (self.headers.get_all(name, []) for name in ("Host", "Origin"))
        reason = guard.refusal_reason(self.path, hosts, origins)
        if reason is not None:
            self._send_error(403, reason)
            return None
        return guard.strip_token(self.path).removeprefix("/")

    def _send_error(self, code: int, reason: str) -> None:
        self.close_connection = True
        self._send(reason.encode(), "text/plain; charset=utf-8", code)

    def _send(self, body: bytes, content_type: str, code: int = 200) -> None:
        self._send_headers(code, content_type, len(body))
        self.wfile.write(body)

    def _send_headers(self, code: int, content_type: str, length: int, **extra_headers: str) -> None:
        self.send_response(code)
        for name, value in {
            "Content-Type": content_type,
            "Content-Length": str(length),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            **{name.replace("_", "-"): value for name, value in extra_headers.items()},
        }.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_file(self, path: Path) -> None:
        """The file, or the part of it that is asked for: a browser seeks in a film."""
        content_type = MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")
        with open(path, "rb") as stream:
            size = path.stat().st_size
            byte_range = re.fullmatch(r"bytes=(\d{1,18})-(\d{0,18})", self.headers.get("Range") or "")
            first, last = 0, size - 1
            if byte_range:
                first, last = int(byte_range[1]), min(int(byte_range[2] or last), last)
            if byte_range and first > last:
                return self._send_error(416, "beyond the end")
            part = {"Content_Range": f"bytes {first}-{last}/{size}"} if byte_range else {}
            self._send_headers(
                206 if byte_range else 200, content_type, last - first + 1, Accept_Ranges="bytes", **part
            )
            if byte_range:
                stream.seek(first)
                self.wfile.write(stream.read(last - first + 1))
            else:
                shutil.copyfileobj(stream, self.wfile)
        return None
