"""Authentication for servers on loopback: only the holder of the printed URL, on this machine, gets access.

Any program on this machine and any page in its browser can reach a loopback port. A request must therefore
carry the token in its path (other pages do not know it), name this server in its Host header (against DNS
rebinding) and have no other page as its Origin. The token in the path needs no cookie, because the served
pages request everything relative to their own URL.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LOOPBACK_HOST = "127.0.0.1"
SECURITY_HEADERS = {  # of every response
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


@dataclass
class LocalAuth:
    """Checks that a request carries the token and comes from this server's own page.

    Args:
        command: the command that prints the URL, for error messages.
        token: the secret in the URL's path.
        port: set once the server listens.
    """

    command: str
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK_HOST}:{self.port}/{self.token}/"

    @property
    def allowed_hosts(self) -> set[str]:
        return {f"{name}:{self.port}" for name in (LOOPBACK_HOST, "localhost")}

    def refusal_reason(self, path: str, hosts: Sequence[str], origins: Sequence[str]) -> str | None:
        """Check a request's path and its Host and Origin headers; returns why it is refused, or None."""
        if len(hosts) > 1 or len(origins) > 1:  # which one counts is ambiguous
            return "duplicate Host or Origin header"
        if not self.allowed_hosts.intersection(hosts):
            return "wrong Host header"
        if any(self._netloc(origin) not in self.allowed_hosts for origin in origins):
            return "the request comes from another page"
        token = path.lstrip("/").partition("?")[0].partition("/")[0]
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            return f"the URL lacks its token: use the one printed by `{self.command}`"
        return None

    def strip_token(self, path: str) -> str:
        """Return the path after the token."""
        return "/" + path.lstrip("/").removeprefix(self.token).lstrip("/")

    @staticmethod
    def _netloc(origin: str) -> str:
        try:
            return urlsplit(origin).netloc
        except ValueError:  # e.g. "http://["
            return ""
