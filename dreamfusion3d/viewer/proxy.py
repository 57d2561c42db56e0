"""A viser server that `LocalAuth` protects, including its websocket: viser itself has no authentication.

viser's page requests everything relative to its own URL, so a token in the path is enough.
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
from dreamfusion3d.local_auth import LOOPBACK_HOST, SECURITY_HEADERS, LocalAuth

_patch_lock = threading.Lock()


@contextlib.contextmanager
def guarded_server(port: int, label: str) -> Iterator[tuple[Any, LocalAuth]]:
    """Start a viser server on loopback; yields it with its authentication.

    Raises MissingExtraError without viser; InputError if the port is in use or this viser cannot be protected.
    """
    try:
        import viser
    except ImportError:
        raise MissingExtraError("viser", "view", "dreamfusion3d view") from None
    guard = LocalAuth("dreamfusion3d view")
    # viser prints the URL without the token
    with _guard_websockets(guard) as guarded_servers, contextlib.redirect_stdout(io.StringIO()):
        server = viser.ViserServer(host=LOOPBACK_HOST, port=port, label=label, verbose=False)
    try:
        guard.port = server.get_port()
        if not guarded_servers:
            raise InputError(f"viser {viser.__version__} cannot be protected by a token; install viser==1.1.1")
        if port and guard.port != port:  # viser falls back to the next free port
            raise InputError(f"cannot listen on port {port}: it is in use; choose another with --port")
        yield server, guard
    finally:
        with contextlib.redirect_stdout(io.StringIO()):
            server.stop()


@contextlib.contextmanager
def _guard_websockets(guard: LocalAuth) -> Iterator[list[int]]:
    """Make websocket servers created inside the block check requests; yields a list with one entry per server.

    viser passes its own ``process_request``, offers no hook, and listens before its constructor returns.
    """
    # Any: type checks do not depend on whether it is installed
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
                response.headers.update(SECURITY_HEADERS)
            return response

        guarded_servers.append(1)
        return serve(*arguments, process_request=check_request, **options)

    with _patch_lock:
        library.serve = guarded
        try:
            yield guarded_servers
        finally:
            library.serve = serve
