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
from dreamfusion3d.local_auth import LOOPBACK_HOST, LocalAuth

_patch_lock = threading.Lock()


@contextlib.contextmanager
def guarded_server(port: int, label: str) -> Iterator[tuple[Any, LocalAuth]]:
    """A viser server on loopback and its guard.

    Raises MissingExtraError without viser, and InputError when the port is taken or when this viser
    does not let its requests be looked at: it is not started unguarded.
    """
    try:
        import viser
    except ImportError:
        raise MissingExtraError("viser", "view", "dreamfusion3d view") from None
    guard = LocalAuth("dreamfusion3d view")
    # what viser prints names the address without the token
    with _guard_websockets(guard) as guarded_servers, contextlib.redirect_stdout(io.StringIO()):
        server = viser.ViserServer(host=LOOPBACK_HOST, port=port, label=label, verbose=False)
    try:
        guard.port = server.get_port()
        if not guarded_servers:
            raise InputError(f"viser {viser.__version__} cannot be guarded; install viser==1.1.1")
        if port and guard.port != port:  # viser takes the next one
            raise InputError(f"cannot listen on port {port}: it is in use; choose another with --port")
        yield server, guard
    finally:
        with contextlib.redirect_stdout(io.StringIO()):
            server.stop()


@contextlib.contextmanager
def _guard_websockets(guard: LocalAuth) -> Iterator[list[int]]:
    """While this is open, servers of websockets ask ``guard`` first; how many did is the list's length.

    viser gives its own ``process_request`` and has no setting for another; its server is made, and
    listens, before its constructor returns.
    """
    # as Any: absent or there, the checker says the same
    library: Any = importlib.import_module("websockets.asyncio.server")
    serve, guarded_servers = library.serve, []

    def guarded(*arguments: Any, process_request: Callable[..., Any] | None = None, **options: Any) -> Any:
        async def check_request(connection: Any, request: Any) -> Any:
            headers = request.headers
            reason = guard.refusal_reason(request.path, headers.get_all("Host"), headers.get_all("Origin"))
            if reason is not None:
                return connection.respond(403, reason + "\n")
            if process_request is None:
                return None
            response = process_request(connection, dataclasses.replace(request, path=guard.strip_token(request.path)))
            response = await response if inspect.isawaitable(response) else response
            if response is not None:
                response.headers["X-Frame-Options"] = "DENY"
                response.headers["Referrer-Policy"] = "no-referrer"
                response.headers["X-Content-Type-Options"] = "nosniff"
                response.headers["Cache-Control"] = "no-store"
            return response

        guarded_servers.append(1)
        return serve(*arguments, process_request=check_request, **options)

    with _patch_lock:
        library.serve = guarded
        try:
            yield guarded_servers
        finally:
            library.serve = serve
