"""Verdicts survive damaged files and concurrent edits, and the server requires its token."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dreamfusion3d.batch import reviews
from dreamfusion3d.batch.contact_sheet import main_file_sha256
from dreamfusion3d.batch.review_server import Gallery, ReviewServer
from dreamfusion3d.core.errors import InputError
from tests.support.fakes import write_fake_item


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ReviewServer]:
    out = tmp_path / "out"
    write_fake_item(out, "mug", "a <b>mug</b>")
    with ReviewServer(Gallery(out, lambda line: None)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def send_request(
    server: ReviewServer, path: str, body: object = None, *, token: str | None = None, **headers: str
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    sent_headers = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    url = f"/{server.guard.token if token is None else token}/{path}"
    connection.request("GET" if body is None else "POST", url, body and json.dumps(body), sent_headers)
    response = connection.getresponse()
    result = response.status, response.read()
    connection.close()
    return result


def asset_sha256(server: ReviewServer, name: str = "mug") -> str:
    return main_file_sha256(json.loads((server.gallery.out / name / "asset.json").read_text()))


def test_review_server_requires_token_host_and_origin(server: ReviewServer) -> None:
    assert send_request(server, "")[0] == 200
    for token in ("", "x", server.guard.token[:-1], server.guard.token + "x"):
        assert send_request(server, "", token=token)[0] == 403
        assert send_request(server, "verdict", {"name": "mug"}, token=token)[0] == 403
    port = server.server_port
    assert send_request(server, "", Host=f"localhost:{port}")[0] == 200
    for host in (f"evil.example:{port}", "127.0.0.1", "evil.example", ""):
        assert send_request(server, "", Host=host)[0] == 403
    change = {"name": "mug", "sha256": asset_sha256(server), "verdict": "reject"}
    assert send_request(server, "verdict", change, Origin="http://evil.example")[0] == 403
    assert send_request(server, "verdict", change, Content_Type="text/plain")[0] == 404
    assert not (server.gallery.out / "review.json").exists()
    assert send_request(server, "verdict", change, Origin=f"http://127.0.0.1:{port}")[0] == 200


def test_review_server_serves_only_listed_files(server: ReviewServer, tmp_path: Path) -> None:
    out = server.gallery.out
    send_request(server, "news")
    (tmp_path / "secret").write_text("secret")
    (out / "mug" / "unlisted.txt").write_text("secret")
    report = out / "mug" / "asset.json"
    record = json.loads(report.read_text())
    (out / "mug" / "link.glb").symlink_to(tmp_path / "secret")
    record["files"] |= {"../../secret": {"sha256": ""}, "link.glb": {"sha256": ""}}
    report.write_text(json.dumps(record))
    assert send_request(server, "mug/mug.glb") == (200, (out / "mug" / "mug.glb").read_bytes())
    assert send_request(server, "mug/mug.glb", Range="bytes=2-4") == (206, (out / "mug" / "mug.glb").read_bytes()[2:5])
    assert send_request(server, "mug/mug.glb", Range="bytes=999999-")[0] == 416
    for path in (
        "mug/unlisted.txt",
        "mug/asset.json",
        "mug/link.glb",
        "mug/../../secret",
        "mug/..%2f..%2fsecret",
        "../secret",
        "mug%2f..%2f..%2fsecret",
        "mug/",
        "nothing/mug.glb",
        "mug/mug.glb/x",
        "%00/x",
        "mug/%00",
    ):
        assert send_request(server, path)[0] == 404, path


def test_review_server_saves_verdicts_and_sends_updates(server: ReviewServer) -> None:
    out, sha = server.gallery.out, asset_sha256(server)
    first = json.loads(send_request(server, "news")[1])
    assert [a["name"] for a in first["assets"]] == ["mug"]
    assert send_request(server, "verdict", {"name": "mug", "sha256": sha, "verdict": "reject"})[0] == 200
    assert send_request(server, "verdict", {"name": "mug", "sha256": sha, "note": "</script>"})[0] == 200
    kept = json.loads((out / "review.json").read_text())["verdicts"]["mug"]
    assert (kept["verdict"], kept["note"], kept["sha256"]) == ("reject", "</script>", sha)
    page = send_request(server, "")[1].decode()
    assert page.count("</script>") == 2 and "<b>mug" not in page
    for bad in ({"verdict": "maybe"}, {"note": 3}, {"note": "x" * 10_001}, {"sha256": "0" * 64}, {"name": 1}):
        change = {"name": "mug", "sha256": sha, "verdict": "approve"} | bad
        assert send_request(server, "verdict", change)[0] == 409, bad
    write_fake_item(out, "cup", "a cup")
    news = json.loads(send_request(server, f"news?since={first['revision']}")[1])
    assert [a["name"] for a in news["assets"]] == ["cup"] and news["verdicts"]["mug"]["verdict"] == "reject"
    quiet = json.loads(send_request(server, f"news?since={news['revision']}")[1])
    assert not quiet["assets"] and quiet["verdicts"] is None
    (out / "cup" / "asset.json").unlink()
    assert json.loads(send_request(server, f"news?since={quiet['revision']}")[1])["gone"] == ["cup"]
    send_request(server, "verdict", {"name": "mug", "sha256": sha, "verdict": None})
    send_request(server, "verdict", {"name": "mug", "sha256": sha, "note": ""})
    assert json.loads((out / "review.json").read_text())["verdicts"] == {}


def test_edit_reviews_keeps_concurrent_edits(tmp_path: Path) -> None:
    def edit(number: int) -> None:
        for key in ("verdict", "note"):
            with reviews.edit_reviews(tmp_path) as review:
                value = "reject" if key == "verdict" else f"note {number}"
                reviews.apply_decision(review, f"a{number % 8}", "s" * 64, {key: value}, {})

    threads = [threading.Thread(target=edit, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = reviews.read_reviews(tmp_path).decisions
    assert len(found) == 8 and all(v["verdict"] == "reject" and v["note"] for v in found.values())
    assert sorted(p.name for p in tmp_path.iterdir()) == [".batch", "review.json"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[]", b'{"verdicts": 3}', b"[" * 100_000, b'{"verdicts": {"a": []}}']
)
def test_edit_reviews_backs_up_damaged_files(content: bytes, tmp_path: Path) -> None:
    messages: list[str] = []
    for number, name in enumerate(("review.damaged.json", "review.damaged_2.json"), 1):
        (tmp_path / "review.json").write_bytes(content)
        assert reviews.read_reviews(tmp_path).damage
        with reviews.edit_reviews(tmp_path, messages.append) as review:
            pass
        assert (tmp_path / "review.json").read_bytes() == content, "reading changes nothing"
        with reviews.edit_reviews(tmp_path, messages.append) as review:
            reviews.apply_decision(review, "mug", "s" * 64, {"verdict": "approve"}, {})
        assert (tmp_path / name).read_bytes() == content and len(messages) == number
        assert (
            list(reviews.read_reviews(tmp_path).decisions) == ["mug"] and reviews.read_reviews(tmp_path).damage is None
        )


def test_decision_for_applies_to_one_file(tmp_path: Path) -> None:
    review = reviews.ReviewLog({"mug": {"verdict": "reject", "sha256": "a" * 64}})
    assert review.decision_for("mug", "a" * 64) and not review.decision_for("mug", "b" * 64)
    reviews.apply_decision(review, "mug", "b" * 64, {"note": "new"}, {})
    assert review.decisions["mug"] == {"note": "new", "sha256": "b" * 64}


def test_review_server_reports_a_port_in_use(server: ReviewServer) -> None:
    with pytest.raises(InputError, match="--port"):
        ReviewServer(server.gallery, server.server_port)
