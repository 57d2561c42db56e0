"""viser's server asks nobody for a key: a `loopback.Guard` stands in front of it, websocket included.

viser's page asks for all it needs below the address that it was opened by, so a token in the path is enough.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

from dreamfusion3d.core.errors import InputError, MissingExtraError
from dreamfusion3d.local_auth import HOST, Guard

_turn = threading.Lock()


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
    guard = Guard("dreamfusion3d view")
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
            why = guard.refusal(request.path, headers.get_all("Host"), headers.get_all("Origin"))
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
