"""The server of a study's page: what it sends, to whom, and what it keeps."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import runs
from ragkit.errors import DataError
from ragkit.evaluate.annotate import Study, begin, open_study, serving
from ragkit.evaluate.annotate.blind import first_is_left

JSON = {"Content-Type": "application/json"}
HARSH = "<script>alert(1)</script> \u2028 é"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    asked = runs.examples(12)
    bart = runs.write(tmp_path / "bart", asked, lambda i, one: f"{HARSH} {i}")
    rag = runs.write(tmp_path / "rag-secret", asked, lambda i, one: f"other {i}")
    return begin(tmp_path / "study", bart, rag)


@pytest.fixture
def port(study: Study) -> Iterator[int]:
    with serving(study) as address:
        found = urlsplit(address)
        assert found.hostname == "127.0.0.1"
        assert found.port is not None
        yield found.port


def send(
    port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, Any, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        text = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = JSON if headers is None and body is not None else headers or {}
        connection.request(method, path, text, given)
        answer = connection.getresponse()
        content = answer.read()
        told = dict(answer.getheaders())
        is_json = told["Content-Type"].startswith("application/json")
        return answer.status, json.loads(content) if is_json else content.decode(), told
    finally:
        connection.close()


def judge(port: int, at: int, aspect: str = "factuality", choice: str = "left") -> Any:
    body = {"annotator": "ada", "at": at, "aspect": aspect, "choice": choice}
    status, found, _ = send(port, "POST", "/judge", body)
    assert status == 200, found
    return found


def test_pairs_come_blindly_in_the_order_of_the_annotator(study: Study, port: int) -> None:
    for at, id in enumerate(study.order("ada")):
        status, found, _ = send(port, "GET", f"/pair?annotator=Ada&at={at}")
        assert status == 200
        pair = study.pairs[id]
        texts = [pair.first, pair.second]
        if not first_is_left(study.seed, "ada", id):
            texts.reverse()
        assert [found["left"], found["right"]] == texts
        assert set(found) == {
            "annotator",
            "total",
            "done",
            "at",
            "question",
            "answers",
            "left",
            "right",
            "chosen",
        }
        assert not re.search("bart|secret|first|second", json.dumps(found))


def test_who_comes_back_goes_on(study: Study, port: int) -> None:
    assert judge(port, 0)["done"] == 0
    assert send(port, "GET", "/pair?annotator=ada")[1]["at"] == 0  # one aspect is left
    found = judge(port, 0, "specificity", "neither")
    assert (found["done"], found["chosen"]) == (1, {"factuality": "left", "specificity": "neither"})
    assert send(port, "GET", "/pair?annotator=ada")[1]["at"] == 1
    assert send(port, "GET", "/pair?annotator=bo")[1]["at"] == 0
    with serving(open_study(study.directory)) as address:  # after a restart
        other = urlsplit(address).port
        assert other is not None
        assert send(other, "GET", "/pair?annotator=ada")[1]["at"] == 1
        assert judge(other, 0, choice="right")["chosen"]["factuality"] == "right"
        for at in range(1, 12):
            for aspect in ("factuality", "specificity"):
                judge(other, at, aspect, "both")
        assert send(other, "GET", "/pair?annotator=ada")[1] == {
            "annotator": "ada",
            "total": 12,
            "done": 12,
            "at": None,
        }


def test_several_at_once_lose_nothing(study: Study, port: int) -> None:
    def work(name: str) -> None:
        for at in range(12):
            for aspect in ("factuality", "specificity"):
                body = {"annotator": name, "at": at, "aspect": aspect, "choice": "both"}
                assert send(port, "POST", "/judge", body)[0] == 200

    names = ["ada", "bo", "ada", "cleo"]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, names))
    assert {name: len(study.judged(name)) for name in study.annotators()} == {
        "ada": 24,
        "bo": 24,
        "cleo": 24,
    }


GOOD = {"annotator": "ada", "at": 0, "aspect": "factuality", "choice": "left"}


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "message"),
    [
        ("GET", "/pair?annotator=ada", None, {"Host": "ragkit.example"}, 403, "machine alone"),
        ("GET", "/", None, {"Host": "127.0.0.1:1"}, 403, "machine alone"),
        ("POST", "/judge", GOOD, JSON | {"Host": "ragkit.example"}, 403, "machine alone"),
        ("POST", "/judge", GOOD, JSON | {"Origin": "https://a.example"}, 403, "machine alone"),
        ("POST", "/judge", GOOD, JSON | {"Origin": "null"}, 403, "machine alone"),
        ("POST", "/judge", GOOD, {"Content-Type": "text/plain"}, 415, "judgements are JSON"),
        ("POST", "/other", GOOD, JSON, 404, "no such page"),
        ("GET", "/study.json", None, {}, 404, "no such page"),
        ("GET", "/../study.json", None, {}, 404, "no such page"),
        ("GET", "/pair", None, {}, 400, "'' is no name"),
        ("GET", "/pair?annotator=a%2Fb", None, {}, 400, "is no name"),
        ("GET", "/pair?annotator=ada&at=12", None, {}, 400, "no pair '12'; there are 0 to 11"),
        ("GET", "/pair?annotator=ada&at=-1", None, {}, 400, "no pair '-1'"),
        ("GET", "/pair?annotator=ada&at=" + "9" * 5000, None, {}, 400, "no pair '999"),
        ("POST", "/judge", b"{", JSON, 400, "not a JSON object"),
        ("POST", "/judge", b"[]", JSON, 400, "not a JSON object"),
        ("POST", "/judge", b"\xff", JSON, 400, "not a JSON object"),
        ("POST", "/judge", {}, JSON, 400, "has annotator, at, aspect and choice"),
        ("POST", "/judge", GOOD | {"at": True}, JSON, 400, "has annotator, at, aspect"),
        ("POST", "/judge", GOOD | {"at": 12}, JSON, 400, "no pair '12'"),
        ("POST", "/judge", GOOD | {"aspect": "style"}, JSON, 400, "aspect is 'style'"),
        ("POST", "/judge", GOOD | {"choice": "first"}, JSON, 400, "choice is 'first'"),
        ("POST", "/judge", b" " * 20_000, JSON, 413, "no judgement"),
    ],
)
def test_what_is_refused_keeps_nothing(
    study: Study,
    port: int,
    method: str,
    path: str,
    body: Any,
    headers: dict[str, str],
    status: int,
    message: str,
) -> None:
    code, found, _ = send(port, method, path, body, headers)
    assert code == status
    assert message in found["error"]
    assert study.annotators() == []


def test_the_page_itself_may_come_from_either_name(port: int) -> None:
    for name in ("127.0.0.1", "localhost"):
        here = {"Host": f"{name}:{port}", "Origin": f"http://{name}:{port}"}
        assert send(port, "POST", "/judge", GOOD, JSON | here)[0] == 200


def test_the_page_fetches_nothing_from_elsewhere(port: int) -> None:
    for path, kind in (("/", "html"), ("/page.css", "css"), ("/page.js", "javascript")):
        status, content, told = send(port, "GET", path)
        assert (status, told["Content-Type"]) == (200, f"text/{kind}; charset=utf-8")
        assert not re.search(r"https?:|url\(|@import|innerHTML|//\w+\.", content)
        assert "default-src 'none'" in told["Content-Security-Policy"]
        assert told["Cache-Control"] == "no-store"
    assert not list(
        files("ragkit.evaluate.annotate").joinpath("page.html").read_text().split("\t")
    )[1:]


def test_a_full_disk_is_told(study: Study, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ragkit.evaluate.annotate.judgements.os.fsync", full)
    code, found, _ = send(port, "POST", "/judge", GOOD)
    assert code == 500
    assert "No space left" in found["error"]


def test_a_port_that_is_taken(study: Study) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with (
            pytest.raises(DataError, match=rf"port {number} .* type --port 0 for one that is free"),
            serving(study, number),
        ):
            pass
    with pytest.raises(DataError, match="port 70000 of this machine"), serving(study, 70000):
        pass
