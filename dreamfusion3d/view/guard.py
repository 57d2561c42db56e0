"""Who may talk to viser's server: it asks nobody for a key, so this one stands in front of it.

Any program of this machine, and any page in its browser, can reach a port of loopback. So every request,
the websocket's too, must carry the token in its path (a page elsewhere does not know it), name this server
in its Host header (or a name that was made to point here, DNS rebinding, could reach it), and, where the
browser says which page it comes from, come from this one. viser's page asks for all it needs below the
address that it was opened by, so the path is enough and no cookie is left behind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hmac
import importlib
import inspect
import io
import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from dreamfusion3d.errors import InputError, MissingExtraError

HOST = "127.0.0.1"
_turn = threading.Lock()


@dataclasses.dataclass
class Guard:
    """Lets a request through when it has the token and comes from this machine's own page."""

    token: str
    port: int = 0  # known when the server listens

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/{self.token}/"

    @property
    def hosts(self) -> set[str]:
        return {f"{name}:{self.port}" for name in (HOST, "localhost")}

    def refusal(self, path: str, host: str | None, origin: str | None) -> str | None:
        """Why a request is refused; None when it is not."""
        if host not in self.hosts:
            return "this server is not called so"
        if origin is not None and urlsplit(origin).netloc not in self.hosts:
            return "from another page"
        token = path.lstrip("/").partition("?")[0].partition("/")[0]
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            return "the address lacks its token: use the one that `dreamfusion3d view` printed"
        return None

    def inner(self, path: str) -> str:
        """What follows the token."""
        return "/" + path.lstrip("/").removeprefix(self.token).lstrip("/")


@contextlib.contextmanager
def guarded_server(port: int, label: str) -> Iterator[tuple[Any, Guard]]:
    """A viser server on loopback and its guard.

    Raises MissingExtraError without viser, and InputError when the port is taken or when this viser
    does not let its requests be looked at: it is not started unguarded.
    """
    try:
        import viser
    except ImportError:
        raise MissingExtraError("viser", "view", "dreamfusion3d view") from None
    guard = Guard(secrets.token_urlsafe(24))
    # what viser prints names the address without the token
    with _looked_at(guard) as count, contextlib.redirect_stdout(io.StringIO()):
        server = viser.ViserServer(host=HOST, port=port, label=label, verbose=False)
    try:
        guard.port = server.get_port()
        if not count:
            raise InputError(f"viser {viser.__version__} cannot be guarded; install viser==1.1.1")
        if port and guard.port != port:  # viser takes the next one
            raise InputError(f"cannot listen on port {port}: it is in use; choose another with --port")
        yield server, guard
    finally:
        with contextlib.redirect_stdout(io.StringIO()):
            server.stop()


@contextlib.contextmanager
def _looked_at(guard: Guard) -> Iterator[list[int]]:
    """While this is open, servers of websockets ask ``guard`` first; how many did is the list's length.

    viser gives its own ``process_request`` and has no setting for another; its server is made, and
    listens, before its constructor returns.
    """
    # as Any: absent or there, the checker says the same
    library: Any = importlib.import_module("websockets.asyncio.server")
    serve, count = library.serve, []

    def guarded(*arguments: Any, process_request: Callable[..., Any] | None = None, **options: Any) -> Any:
        async def look(connection: Any, request: Any) -> Any:
            headers = request.headers
            # get_all: a header that is sent twice is no header of ours
            said = {name: headers.get_all(name) for name in ("Host", "Origin")}
            twice = any(len(values) > 1 for values in said.values())
            host, origin = ((values or [None])[0] for values in said.values())
            why = "headers sent twice" if twice else guard.refusal(request.path, host, origin)
            if why is not None:
                return connection.respond(403, why + "\n")
            if process_request is None:
                return None
            answer = process_request(connection, dataclasses.replace(request, path=guard.inner(request.path)))
            answer = await answer if inspect.isawaitable(answer) else answer
            if answer is not None:
                answer.headers["X-Frame-Options"] = "DENY"
                answer.headers["Referrer-Policy"] = "no-referrer"
                answer.headers["X-Content-Type-Options"] = "nosniff"
                answer.headers["Cache-Control"] = "no-store"
            return answer

        count.append(1)
        return serve(*arguments, process_request=look, **options)

    with _turn:
        library.serve = guarded
        try:
            yield count
        finally:
            library.serve = serve
