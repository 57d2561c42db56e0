"""Who may talk to a server of ours: whoever has its address, from this machine.

Any program of this machine, and any page in its browser, can reach a port of loopback. So every request
must carry the token in its path (a page elsewhere does not know it), name this server in its Host header
(or a name that was made to point here, DNS rebinding, could reach it), and, where the browser says which
page it comes from, come from this one. A path is enough for pages that ask for all they need below the
address that they were opened by: no cookie is left behind.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LOOPBACK_HOST = "127.0.0.1"


@dataclass
class LocalAuth:
    """Lets a request through when it has the token and comes from this machine's own page.

    ``command`` printed the address. ``port`` is known when the server listens.
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
        """Why a request is refused, by its path and all its headers Host and Origin; None when it is not."""
        if len(hosts) > 1 or len(origins) > 1:  # which one counts is not agreed on
            return "headers sent twice"
        if not self.allowed_hosts.intersection(hosts):
            return "this server is not called so"
        if any(self._netloc(origin) not in self.allowed_hosts for origin in origins):
            return "from another page"
        token = path.lstrip("/").partition("?")[0].partition("/")[0]
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            return f"the address lacks its token: use the one that `{self.command}` printed"
        return None

    def strip_token(self, path: str) -> str:
        """What follows the token."""
        return "/" + path.lstrip("/").removeprefix(self.token).lstrip("/")

    @staticmethod
    def _netloc(origin: str) -> str:
        try:
            return urlsplit(origin).netloc
        except ValueError:  # as of "http://["
            return ""
