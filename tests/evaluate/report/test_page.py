"""The page as a file: whole, closed to the network, with every text escaped; and its faults."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import pages
import runs
from ragkit.cli import main
from ragkit.errors import ConfigError, DataError, RagkitError, UnknownName
from ragkit.evaluate.comparison import open_run
from ragkit.evaluate.report import write


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pages.page(tmp_path_factory.mktemp("page"), 40)


@pytest.fixture(scope="module")
def tree(file: Path) -> pages.Tree:
    return pages.Tree(file.read_text(encoding="utf-8"))


def test_every_element_is_closed_and_ids_are_one(tree: pages.Tree) -> None:
    assert tree.unclosed == []
    ids = [found["id"] for _, found in tree.elements if "id" in found]
    assert len(set(ids)) == len(ids)
    labels = [found for tag, found in tree.elements if tag == "svg" and found.get("role") == "img"]
    assert labels
    assert all(found["aria-label"] for found in labels)


def test_nothing_is_fetched(file: Path, tree: pages.Tree) -> None:
    for tag, found in tree.elements:
        assert tag not in ("img", "iframe", "object", "embed", "base", "form", "audio", "video")
        assert "src" not in found
        assert not [name for name in found if name.startswith("on")]
        assert found.get("href", "#").startswith(("#", "data:,"))
    written = file.read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp|eval\(|innerHTML", written)


def test_the_policy_lets_this_script_run_and_no_other(file: Path, tree: pages.Tree) -> None:
    (policy,) = [found["content"] for _, found in tree.elements if "http-equiv" in found]
    (script,) = re.findall(r"<script>(.*?)</script>", file.read_text("utf-8"), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_texts_of_the_runs_are_nothing_but_text(tree: pages.Tree) -> None:
    scripts = [found for tag, found in tree.elements if tag == "script"]
    assert [found.get("id") for found in scripts] == ["index", "part-0", None]
    index = json.loads(tree.texts["index"])
    assert index["questions"][3] == f"Café {pages.NASTY} 3?"
    kinds = [index["kinds"][int(c)] for c in index["runs"][0]["kinds"]]
    assert kinds == [pages.KINDS[i % 4] for i in range(40)]


def test_tables_say_what_the_runs_say(file: Path) -> None:
    words = re.sub(r"<[^>]*>|\s+", " ", file.read_text("utf-8").partition('id="questions"')[0])
    for name in ("one", "two"):
        em = open_run(file.parent / name).values["EM"].mean()
        assert f"{100 * em:.1f}" in words
    for said in ("Differences", "EM against k", "Reliability", "Recall at k", "wrong, of reader"):
        assert said in words


def test_one_run_without_golds_or_passages(tmp_path: Path) -> None:
    folder = runs.write(tmp_path / "a&b", runs.examples(3), lambda i, one: "no", keep_golds=False)
    written = write([folder], tmp_path / "new" / "r.html", resamples=50).read_text("utf-8")
    tree = pages.Tree(written)
    assert "<h1>a&amp;b</h1>" in written
    assert tree.unclosed == []
    assert "Differences" not in written
    assert json.loads(tree.texts["index"])["runs"][0]["supported"] is False


def test_a_title_that_looks_like_a_mark_is_text(tmp_path: Path) -> None:
    folder = runs.write(tmp_path / "r", runs.examples(2), lambda i, one: "no")
    made = write([folder], tmp_path / "r.html", title="<!-- data --> </title>", resamples=50)
    written = made.read_text("utf-8")
    assert "<title>&lt;!-- data --&gt; &lt;/title&gt;</title>" in written
    assert written.count('id="index"') == 1


def test_ten_thousand_questions(tmp_path: Path) -> None:
    made = pages.page(tmp_path, 10_000, ["one"])
    tree = pages.Tree(made.read_text(encoding="utf-8"))
    parts = [name for name in tree.texts if name.startswith("part-")]
    assert len(parts) == 100
    assert sum(len(json.loads(tree.texts[name])["questions"]) for name in parts) == 10_000


BAD: list[tuple[str, dict[str, Any], type[RagkitError], str]] = [
    ("passages", {"passages": 0}, ConfigError, "passages is 0; type a whole number of 1 or more"),
    ("letters", {"letters": 1.5}, ConfigError, "letters is 1.5"),
    ("confidence", {"confidence": 95}, DataError, "type a share between 0 and 1"),
    ("judge", {"judge": "em"}, UnknownName, "no metric 'em'"),
    ("baseline", {"baseline": "three"}, UnknownName, "no run is named 'three'"),
    ("log", {"logs": ["none.json"]}, DataError, "none.json is missing"),
]


@pytest.mark.parametrize(("options", "kind", "said"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_a_fault_is_told_and_leaves_no_file(
    file: Path, tmp_path: Path, options: dict[str, Any], kind: type[RagkitError], said: str
) -> None:
    folders = [file.parent / "one", file.parent / "two"]
    with pytest.raises(kind, match=re.escape(said)):
        write(folders, tmp_path / "r.html", **options)
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(file: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder; type the name of a file"):
        write([file.parent / "one"], tmp_path)
    before = file.read_bytes()
    with pytest.raises(DataError, match="is there already; type another name, or --overwrite"):
        write([file.parent / "one"], file)
    assert file.read_bytes() == before
    with pytest.raises(DataError, match="a report needs a run"):
        write([], tmp_path / "r.html")
    with pytest.raises(DataError, match="is no folder"):
        write([tmp_path / "none"], tmp_path / "r.html")


def test_the_command(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.html"
    words = ["ragkit", "report", str(file.parent / "one"), "--out", str(out), "--passages", "1"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert str(out) in capsys.readouterr().out
    part = json.loads(pages.Tree(out.read_text("utf-8")).texts["part-0"])
    assert {len(said["z"]) for (said,) in part["questions"]} == {1}
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "is there already" in capsys.readouterr().err
