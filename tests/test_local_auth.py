"""Nobody comes in but by the whole address, from the page it belongs to."""

from __future__ import annotations

import pytest

from dreamfusion3d.local_auth import HOST, Guard

GUARD = Guard("dreamfusion3d review", "tokén-less", 8000)
HERE = f"{HOST}:8000"


@pytest.mark.parametrize("path", [GUARD.url.partition("8000")[2], f"//{GUARD.token}", f"/{GUARD.token}?a=/b"])
@pytest.mark.parametrize("origins", [[], [f"http://{HERE}"], ["http://localhost:8000"]])
def test_the_whole_address_comes_in(path: str, origins: list[str]) -> None:
    assert GUARD.refusal(path, [HERE], origins) is None
    assert GUARD.token not in GUARD.inner(path) and GUARD.inner(f"{path}/").startswith("/")


@pytest.mark.parametrize(("hosts", "origins"), [
    ([], []), ([HOST], []), (["evil.example:8000"], []), ([HERE, HERE], []), ([f"{HOST}:8001"], []),
    ([HERE], ["null"]), ([HERE], ["http://evil.example"]), ([HERE], ["http://["]), ([HERE], [""]),
    ([HERE], [f"http://{HERE}", "http://evil.example"]), ([HERE], [f"http://{HERE}.evil.example"]),
])
def test_another_name_or_page_does_not(hosts: list[str], origins: list[str]) -> None:
    assert GUARD.refusal(f"/{GUARD.token}/", hosts, origins)


@pytest.mark.parametrize(
    "path", ["", "/", "//", f"/{GUARD.token[:-1]}/", f"/x/{GUARD.token}", f"/?{GUARD.token}"]
)
def test_another_token_does_not(path: str) -> None:
    assert "`dreamfusion3d review`" in str(GUARD.refusal(path, [HERE], []))


def test_every_server_has_its_own() -> None:
    assert Guard("a").token != Guard("a").token and len(Guard("a").token) >= 32
