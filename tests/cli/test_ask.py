"""``ragkit ask`` on a saved model with random weights: what goes where, and what is refused."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ragkit.cli import ask
from ragkit.cli.options import decoding
from ragkit.errors import ConfigError, DataError
from ragkit.rag import RAG

_SPEC = importlib.util.spec_from_file_location("saved", Path(__file__).with_name("saved.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
saved = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(saved)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(saved.model(tmp_path_factory.mktemp("saved")))


def run(*arguments: str, typed: str = "") -> Any:
    app = typer.Typer()
    ask.register(app)
    return CliRunner().invoke(app, list(arguments), input=typed)


def test_an_answer_with_its_passages(model: str) -> None:
    found = run("what is coal?", "--model", model, "-k", "3", "-o", "max_new_tokens=4")
    assert found.exit_code == 0, found.output
    assert "what is coal?" in found.stdout
    assert "posterior" in found.stdout
    assert sum("%" in line for line in found.stdout.splitlines()) == 3


def test_json_is_the_answer_of_the_library(model: str) -> None:
    options = ("-k", "2", "-o", "max_new_tokens=4", "-o", "num_beams=2", "--json")
    found = run("what is coal?", "--model", model, *options)
    (expected,) = RAG.from_pretrained(model).answer(
        ["what is coal?"], k=2, max_new_tokens=4, num_beams=2
    )
    record = json.loads(found.stdout)
    assert record["text"] == expected.text
    assert record["log_likelihood"] == pytest.approx(expected.log_likelihood)
    assert [one["id"] for one in record["passages"]] == [one.id for one in expected.passages]
    assert sum(one["posterior"] for one in record["passages"]) == pytest.approx(1, abs=1e-5)
    assert len(record["token_posterior"]) == len(record["tokens"])
    assert record["tokens"] == list(expected.tokens)


def test_lines_of_standard_input_are_questions(model: str) -> None:
    found = run(
        "--model", model, "--json", "-o", "max_new_tokens=3", typed="what?\n\n which? \nwho?"
    )
    asked = [json.loads(line)["question"] for line in found.stdout.splitlines()]
    assert asked == ["what?", "which?", "who?"]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((" ",), DataError, "the question is empty; type ragkit ask"),
        (("q?", "-k", "0"), DataError, "k"),
        (("q?", "-o", "num_beams"), ConfigError, r"-o num_beams: not name=value; type -o"),
        (("q?", "-o", "num_beam=2"), ConfigError, "did you mean 'num_beams'"),
    ],
)
def test_what_is_refused(
    model: str, arguments: tuple[str, ...], kind: type[Exception], message: str
) -> None:
    found = run(*arguments, "--model", model)
    assert isinstance(found.exception, kind)
    with pytest.raises(kind, match=message):
        raise found.exception
    assert found.stdout == ""


def test_options_are_yaml_and_all_faults_come_at_once() -> None:
    typed = ["num_beams=4", "do_sample=true", "temperature=0.5", "allowed=[a, b]", "x="]
    assert decoding(typed) == {
        "num_beams": 4,
        "do_sample": True,
        "temperature": 0.5,
        "allowed": ["a", "b"],
        "x": None,
    }
    assert decoding(None) == {}
    with pytest.raises(ConfigError) as caught:
        decoding(["=1", "a b=1", "n=1", "n=2", "m={"])
    assert len(caught.value.faults) == 4
