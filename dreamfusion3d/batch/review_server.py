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
from dreamfusion3d.local_auth import HOST, Guard
from dreamfusion3d.pipelines.workspace import Workspace, record_of

LARGEST_BODY = 256 << 10  # bytes: a note of LONGEST_NOTE characters in any script
SECONDS_TO_SAY = 30.0  # for a request, before its connection is dropped
TYPES = {".glb": "model/gltf-binary", ".png": "image/png", ".mp4": "video/mp4"}  # others are downloaded


class Gallery:
    """The assets and verdicts of a folder, as they are now; asked by many threads."""

    def __init__(self, out: Path, say: Callable[[str], None]) -> None:
        self.out, self.say = out, say
        self.turn = threading.Lock()
        self.revision = 0
        self.cards: dict[str, tuple[tuple[int, int], contact_sheet.Card | None, int]] = {}
        self.gone: dict[str, int] = {}
        self.review = reviews.Review()
        self.reviewed = 0  # the revision in which the verdicts changed last

    def look(self) -> None:
        """Looks for what has changed in the folder since the last look."""
        with self.turn:
            now = self.revision + 1
            seen = set()
            for folder in contact_sheet.folders(self.out):
                try:
                    status = (folder / "asset.json").stat()
                except OSError:
                    continue
                seen.add(folder.name)
                stamp = (status.st_mtime_ns, status.st_size)
                if folder.name not in self.cards or self.cards[folder.name][0] != stamp:
                    self.cards[folder.name] = (stamp, contact_sheet.card(folder), now)
                    self.gone.pop(folder.name, None)
                    self.revision = now
            for name in self.cards.keys() - seen:
                del self.cards[name]
                self.gone[name] = self.revision = now
            review = reviews.read(self.out)
            if review != self.review:
                self.review, self.reviewed, self.revision = review, now, now

    def page(self) -> str:
        self.look()
        cards = [card for _, card, _ in self.cards.values() if card]
        return contact_sheet.page(self.out, cards, self.review, served=True)

    def news(self, since: int) -> dict[str, Any]:
        """What changed after revision ``since``."""
        self.look()
        with self.turn:
            broken = {name for name, (_, card, _) in self.cards.items() if card is None}
            damage = self.review.damage
            if damage is not None:
                damage = f"review.json is damaged ({damage}); it will be kept aside"
            return {
                "revision": self.revision,
                "assets": [card for _, card, at in self.cards.values() if card and at > since],
                "gone": sorted({n for n, at in self.gone.items() if at > since} | broken),
                "verdicts": self.review.verdicts if self.reviewed > since else None,
                "damage": damage,
            }

    def decide(self, change: Any) -> None:
        """Keeps a verdict or a note. Raises InputError where it is none, or of no asset that is here."""
        if not isinstance(change, dict) or not isinstance(change.get("name"), str):
            raise InputError("a verdict is an object with the name of an asset")
        self.look()
        card = self.cards.get(change["name"], (None, None, 0))[1]
        if card is None or card["sha256"] != change.get("sha256"):
            raise InputError(f"{change['name']}: not this asset any more; look at the new one first")
        facts = {"prompt": card["prompt"], "seed": card["seed"]}
        with reviews.changing(self.out, self.say) as review:
            reviews.decide(review, card["name"], card["sha256"], change, facts)

    def file(self, name: str, file: str) -> Path | None:
        """A file that the asset's report lists; None for every other, and for links that lead elsewhere."""
        folder = self.out / name
        if name not in self.cards or Path(file).name != file:
            return None
        record = record_of(Workspace(folder)) or {}
        listed = record.get("files")
        path = folder / file
        if not isinstance(listed, dict) or file not in listed or not path.is_file():
            return None
        return path if path.resolve().parent == self.out.resolve() / name else None


class Server(ThreadingHTTPServer):
    """Serves ``gallery`` on loopback; ``url`` has the token that every request needs."""

    daemon_threads = True

    def __init__(self, gallery: Gallery, port: int = 0) -> None:
        self.gallery, self.guard = gallery, Guard("dreamfusion3d review")
        try:
            super().__init__((HOST, port), _Handler)
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
    server: Server
    timeout = SECONDS_TO_SAY
    server_version, sys_version = "dreamfusion3d", ""

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        path = self._path()
        if path is None:
            return
        gallery, (bare, _, query) = self.server.gallery, path.partition("?")
        pieces = [unquote(piece) for piece in bare.split("/")]
        if pieces == [""]:
            self._send(gallery.page().encode(), "text/html; charset=utf-8")
        elif pieces == ["news"]:
            since = int(query[6:]) if re.fullmatch(r"since=\d{1,9}", query) else 0
            self._send(json.dumps(gallery.news(since)).encode(), "application/json")
        elif len(pieces) == 2 and (file := gallery.file(*pieces)) is not None:
            self._send_file(file)
        else:
            self._refuse(404, "no such file")

    def do_POST(self) -> None:
        path = self._path()
        if path is None:
            return
        length = self.headers.get("Content-Length") or ""
        if path != "verdict" or self.headers.get_content_type() != "application/json":
            return self._refuse(404, "no such place")
        if not length.isdecimal() or int(length) > LARGEST_BODY:
            return self._refuse(413, "too long")
        try:
            self.server.gallery.decide(json.loads(self.rfile.read(int(length))))
        except InputError as error:
            return self._refuse(409, str(error))
        except (ValueError, RecursionError):
            return self._refuse(400, "not JSON")
        except OSError as error:
            return self._refuse(507, f"review.json cannot be written: {error.strerror}")
        self._send(b"{}", "application/json")

    def _path(self) -> str | None:
        """What follows the token; None, and the request refused, when it may not come in."""
        guard = self.server.guard
        hosts, origins = (self.headers.get_all(name, []) for name in ("Host", "Origin"))
        why = guard.refusal(self.path, hosts, origins)
        if why is not None:
            self._refuse(403, why)
            return None
        return guard.inner(self.path).removeprefix("/")

    def _refuse(self, code: int, why: str) -> None:
        self.close_connection = True
        self._send(why.encode(), "text/plain; charset=utf-8", code)

    def _send(self, body: bytes, kind: str, code: int = 200) -> None:
        self._head(code, kind, len(body))
        self.wfile.write(body)

    def _head(self, code: int, kind: str, length: int, **more: str) -> None:
        self.send_response(code)
        for name, value in {
            "Content-Type": kind, "Content-Length": str(length), "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            **{name.replace("_", "-"): value for name, value in more.items()},
        }.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_file(self, path: Path) -> None:
        """The file, or the part of it that is asked for: a browser seeks in a film."""
        kind = TYPES.get(path.suffix.lower(), "application/octet-stream")
        with open(path, "rb") as stream:
            size = path.stat().st_size
            asked = re.fullmatch(r"bytes=(\d{1,18})-(\d{0,18})", self.headers.get("Range") or "")
            first, last = 0, size - 1
            if asked:
                first, last = int(asked[1]), min(int(asked[2] or last), last)
            if asked and first > last:
                return self._refuse(416, "beyond the end")
            part = {"Content_Range": f"bytes {first}-{last}/{size}"} if asked else {}
            self._head(206 if asked else 200, kind, last - first + 1, Accept_Ranges="bytes", **part)
            if asked:
                stream.seek(first)
                self.wfile.write(stream.read(last - first + 1))
            else:
                shutil.copyfileobj(stream, self.wfile)
        return None
