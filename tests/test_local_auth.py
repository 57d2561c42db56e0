"""`LocalAuth` accepts only requests with the token, from the server's own page."""

from __future__ import annotations

import pytest

from dreamfusion3d.local_auth import LOOPBACK_HOST, LocalAuth

AUTH = LocalAuth("dreamfusion3d review", "tokén-less", 8000)
HERE = f"{LOOPBACK_HOST}:8000"


@pytest.mark.parametrize("path", [AUTH.url.partition("8000")[2], f"//{AUTH.token}", f"/{AUTH.token}?a=/b"])
@pytest.mark.parametrize("origins", [[], [f"http://{HERE}"], ["http://localhost:8000"]])
def test_refusal_reason_none_for_the_full_url(path: str, origins: list[str]) -> None:
    assert AUTH.refusal_reason(path, [HERE], origins) is None
    assert AUTH.token not in AUTH.strip_token(path) and AUTH.strip_token(f"{path}/").startswith("/")


@pytest.mark.parametrize(
    ("hosts", "origins"),
    [
        ([], []),
        ([LOOPBACK_HOST], []),
        (["evil.example:8000"], []),
        ([HERE, HERE], []),
        ([f"{LOOPBACK_HOST}:8001"], []),
        ([HERE], ["null"]),
        ([HERE], ["http://evil.example"]),
        ([HERE], ["http://["]),
        ([HERE], [""]),
        ([HERE], [f"http://{HERE}", "http://evil.example"]),
        ([HERE], [f"http://{HERE}.evil.example"]),
    ],
)
def test_refusal_reason_for_other_hosts_and_origins(hosts: list[str], origins: list[str]) -> None:
    assert AUTH.refusal_reason(f"/{AUTH.token}/", hosts, origins)


@pytest.mark.parametrize("path", ["", "/", "//", f"/{AUTH.token[:-1]}/", f"/x/{AUTH.token}", f"/?{AUTH.token}"])
def test_refusal_reason_for_wrong_tokens(path: str) -> None:
    assert "`dreamfusion3d review`" in str(AUTH.refusal_reason(path, [HERE], []))


def test_local_auth_tokens_are_unique() -> None:
    assert LocalAuth("a").token != LocalAuth("a").token and len(LocalAuth("a").token) >= 32
