"""``ragkit plugins``: new, list and check, as they are typed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from neighbours import OTHERS, Plugin, install, offers, on_the_path
from ragkit import registry
from ragkit.cli import build
from ragkit.errors import ConfigError, PluginError, UnknownName

RIGHT = '''
class Right:
    """Whether a prediction begins with an answer."""
    def __call__(self, predictions, examples):
        print("loud")
        pairs = zip(predictions, examples, strict=True)
        return [float(any(p.text.startswith(a) for a in e.answers)) for p, e in pairs]

class Wrong(Right):
    """The mean, where a number for each is asked for."""
    def __call__(self, predictions, examples):
        found = super().__call__(predictions, examples)
        return [sum(found) / len(found)] * len(found) if found else []
'''


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A site with a good plugin, one that is wrong, one that lacks something, one broken."""
    folder = tmp_path / "site"
    folder.mkdir()
    classes = ("Right", "Wrong")
    records = [f"Component({one.lower()!r}, 'good_one:{one}', 'a line')" for one in classes]
    install(folder, "good-one", Plugin(offers("ragkit_metrics", *records) + RIGHT))
    lacking = "Component('far', 'lacking:Thing', needs=('far_away',), install='pip install far')"
    taken = "Component('em', 'lacking:Right')"
    install(folder, "lacking", Plugin(offers("ragkit_metrics", lacking, taken) + RIGHT))
    install(folder, "bad-one", Plugin("1 / 0"))
    with on_the_path(folder):
        yield folder


def invoke(*words: str) -> Result:
    return CliRunner().invoke(build(), ["plugins", *words])


def as_json(*words: str) -> Any:
    return json.loads(invoke(*words, "--json").stdout)


# ---------------------------------------------------------------------------- new


def test_new_makes_a_package_and_says_what_comes_next(tmp_path: Path) -> None:
    done = invoke("new", "ragkit-near", "-r", "metric", "--role", "index", "--into", str(tmp_path))
    assert done.exit_code == 0
    made = {one.relative_to(tmp_path).as_posix() for one in tmp_path.rglob("*") if one.is_file()}
    assert {"ragkit-near/pyproject.toml", "ragkit-near/tests/test_index.py"} <= made
    for file in made:
        assert file.removeprefix("ragkit-near/") in done.stdout
    assert "ragkit plugins check ragkit-near" in done.stdout


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        (["near"], ConfigError, "at least one role: --role index"),
        (["near", "-r", "indx"], UnknownName, "did you mean 'index'"),
        (["My Near", "-r", "index"], ConfigError, "my-near"),
        (["exact", "-r", "index"], ConfigError, "the index 'exact' is ragkit's; choose another"),
        (["my-faiss", "-r", "index"], None, ""),
        (["ragkit-exact", "-r", "index"], ConfigError, "the index 'exact' is ragkit's"),
        (["bm25", "-r", "retriever"], ConfigError, "the retriever 'bm25' is ragkit-bm25's"),
        (["right", "-r", "metric"], ConfigError, "the metric 'right' is good-one's"),
        (["right", "-r", "index"], None, ""),
        (["numpy", "-r", "index"], ConfigError, "a module 'numpy' is installed already"),
        (["good-one", "-r", "index"], None, ""),  # its author begins anew
        (["taken", "-r", "index"], ConfigError, "exists already"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("site")
def test_new_refuses_what_would_not_work(
    words: list[str], kind: type[Exception] | None, said: str, tmp_path: Path
) -> None:
    (tmp_path / "taken").mkdir()
    done = invoke("new", *words, "--into", str(tmp_path))
    if kind is None:
        assert done.exit_code == 0
        return
    assert isinstance(done.exception, kind)
    assert said in str(done.exception)
    assert {one.name for one in tmp_path.iterdir()} == {"taken", "site"}


# --------------------------------------------------------------------------- list


@pytest.mark.usefixtures("site")
def test_list_says_what_each_offers_and_what_is_wrong() -> None:
    rows = [one for one in as_json("list")["plugins"] if one["distribution"] not in OTHERS]
    found = [(one["role"], one["name"], one["distribution"], one["state"]) for one in rows]
    assert found == [
        (None, None, "bad-one", "broken"),
        ("metric", "right", "good-one", "ready"),
        ("metric", "wrong", "good-one", "ready"),
        ("metric", "far", "lacking", "missing"),
        ("metric", "em", "lacking", "clash"),
    ]
    assert all(one["version"] == "2.5" and one["milliseconds"] >= 0 for one in rows)
    assert [one["protocol"] for one in rows] == [None, 1, 1, 1, 1]
    assert "ZeroDivisionError" in rows[0]["error"]
    assert "bad_one.py, line 1" in rows[0]["error"]
    shown = invoke("list").stdout
    for row in rows:
        assert row["error"] in shown
        assert row["distribution"] in shown.replace("\n", "")


def test_list_without_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "plugins", list)
    assert as_json("list") == {"plugins": []}
    assert "no plugins are installed" in invoke("list").stdout


# -------------------------------------------------------------------------- check


@pytest.mark.usefixtures("site")
def test_check_of_a_right_one() -> None:
    done = invoke("check", "right")
    assert done.exit_code == 0, done.stdout
    assert "metric right (good-one 2.5)" in done.stdout
    assert "passed  test_numbers: It gives a list of plain floats" in done.stdout
    report = as_json("check", "good-one:right", "--role", "metric")
    assert report["passed"] is True
    (one,) = report["components"]
    assert (one["role"], one["name"], one["failed"]) == ("metric", "right", 0)
    assert one["passed"] == sum(check["state"] == "passed" for check in one["checks"]) > 5


@pytest.mark.usefixtures("site")
def test_check_of_a_wrong_one_names_the_law_and_fails() -> None:
    done = invoke("check", "good-one")
    assert done.exit_code == 1
    assert "metric right" in done.stdout  # all that the distribution offers
    failed = [line for line in done.stdout.split("\n") if line.startswith("failed")]
    assert any("test_batch_of_one_is_a_row_of_the_batch" in line for line in failed)
    assert "the mean is not the metric's to take" in done.stdout
    report = as_json("check", "good-one")
    assert report["passed"] is False
    assert [one["failed"] > 0 for one in report["components"]] == [False, True]


@pytest.mark.usefixtures("site")
def test_check_of_what_cannot_be_had() -> None:
    done = invoke("check", "far")
    assert done.exit_code == 1
    assert "metric 'far' of lacking 2.5 needs far_away, not installed: pip install far" in (
        done.stdout
    )
    done = invoke("check", "bad-one")
    assert isinstance(done.exception, PluginError)
    assert "bad_one.py, line 1" in str(done.exception)


@pytest.mark.usefixtures("site")
def test_check_takes_the_one_that_is_meant() -> None:
    (own,) = as_json("check", "em")["components"]
    assert own["distribution"] == "ragkit"
    (theirs,) = as_json("check", "lacking:em")["components"]
    assert theirs["distribution"] == "lacking"
    (short,) = as_json("check", "answer-recall", "-o", "k=1")["components"]
    assert short["failed"] == 0


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        (["rigth"], UnknownName, "no component or plugin is named 'rigth'; did you mean 'right'"),
        (["right", "-r", "metrc"], UnknownName, "no role is named 'metrc'; did you mean 'metric'"),
        (["right", "-r", "index"], UnknownName, "no index is named 'right'"),
        (["good-one", "-r", "index"], ConfigError, "good-one offers no index, so there is nothing"),
        (["answer-recall", "-o", "kk=1"], ConfigError, "unknown option 'kk'"),
        (["answer-recall", "-o", "k"], ConfigError, "type -o factory=HNSW32"),
    ],
)
@pytest.mark.usefixtures("site")
def test_check_says_what_was_typed_wrongly(
    words: list[str], kind: type[Exception], said: str
) -> None:
    done = invoke("check", *words)
    assert isinstance(done.exception, kind)
    assert said in str(done.exception)
