"""Nobody comes in but by the whole address, from the page it belongs to."""

from __future__ import annotations

import pytest

from dreamfusion3d.local_auth import LOOPBACK_HOST, LocalAuth

GUARD = LocalAuth("dreamfusion3d review", "tokén-less", 8000)
HERE = f"{LOOPBACK_HOST}:8000"


@pytest.mark.parametrize("path", [GUARD.url.partition("8000")[2], f"//{GUARD.token}", f"/{GUARD.token}?a=/b"])
@pytest.mark.parametrize("origins", [[], [f"http://{HERE}"], ["http://localhost:8000"]])
def test_the_whole_address_comes_in(path: str, origins: list[str]) -> None:
    assert GUARD.refusal_reason(path, [HERE], origins) is None
    assert GUARD.token not in GUARD.strip_token(path) and GUARD.strip_token(f"{path}/").startswith("/")


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
def test_another_name_or_page_does_not(hosts: list[str], origins: list[str]) -> None:
    assert GUARD.refusal_reason(f"/{GUARD.token}/", hosts, origins)


@pytest.mark.parametrize("path", ["", "/", "//", f"/{GUARD.token[:-1]}/", f"/x/{GUARD.token}", f"/?{GUARD.token}"])
def test_another_token_does_not(path: str) -> None:
    assert "`dreamfusion3d review`" in str(GUARD.refusal_reason(path, [HERE], []))


def test_every_server_has_its_own() -> None:
    assert LocalAuth("a").token != LocalAuth("a").token and len(LocalAuth("a").token) >= 32
