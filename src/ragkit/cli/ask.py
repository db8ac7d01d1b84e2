"""``ragkit ask``: put questions to a saved model and see what it read.

One question as an argument, a line of standard input each, or, at a terminal, one after
another until an empty line. How an answer looks is `ragkit.cli.draw`'s affair.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragkit import shipped
from ragkit.cli import terminal
from ragkit.cli.options import MODEL_HELP, decoding, opened
from ragkit.errors import DataError, KnowledgeBaseError, RagkitError

if TYPE_CHECKING:
    from ragkit.answer import Answer


def register(app: typer.Typer) -> None:
    app.command("ask")(ask)


def ask(
    question: Annotated[
        str | None,
        typer.Argument(help="What to ask; without it, lines of standard input, or a dialogue."),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help=MODEL_HELP)] = None,
    kb: Annotated[
        Path | None,
        typer.Option("--kb", help="A knowledge base, in place of the model's own if it has one."),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Passages to read.")] = 5,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="Decoding option, such as num_beams=4; repeatable."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per answer.")] = False,
) -> None:
    """Ask a model, and see which passages the answer came from."""
    options = decoding(option)
    if question is not None and not question.strip():
        raise DataError('the question is empty; type ragkit ask "Who wrote Hamlet?" --kb DIR')
    answering = _open(model, kb)
    dialogue = question is None and sys.stdin.isatty()
    for text in [question] if question is not None else _typed() if dialogue else _lines():
        try:
            (answer,) = answering.answer([text], k=k, **options)
        except RagkitError as error:
            if not dialogue:
                raise
            terminal.complain(error)
            continue
        _show(answer, json, asked=not dialogue)


def as_record(answer: Answer) -> dict[str, Any]:
    """An answer as an object for JSON; -inf, where nothing was found, becomes None."""
    finite = answer.log_likelihood > float("-inf")
    return {
        "question": answer.question,
        "text": answer.text,
        "log_likelihood": answer.log_likelihood if finite else None,
        "passages": [
            {
                **read.passage._asdict(),
                "prior": read.prior,
                "posterior": read.posterior,
                **({"scores": dict(read.scores)} if read.scores else {}),
            }
            for read in answer.passages
        ],
        "n_best": [
            {"text": one.text, "log_likelihood": one.log_likelihood, "score": one.score}
            for one in answer.n_best
        ],
        "tokens": list(answer.tokens),
        "token_posterior": answer.token_posterior,
    }


def _open(model: str | None, kb: Path | None) -> Any:
    with terminal.status("opening the model"):
        rag = opened(model, kb)
    if getattr(rag.retriever, "knowledge_base", True) is None:
        raise KnowledgeBaseError(
            f"{model or shipped.DEFAULT} has no knowledge base of its own; make one of your texts "
            "and ask again:\n  ragkit kb build FILES --out DIR\n  ragkit ask … --kb DIR"
        )
    return rag


def _show(answer: Answer, json: bool, asked: bool) -> None:
    if json:
        terminal.json_line(as_record(answer))
        return
    from ragkit.cli.draw import answer_view

    terminal.show(answer_view(answer, asked=asked))
    terminal.show("")


def _lines() -> Iterator[str]:
    for line in sys.stdin:
        if line.strip():
            yield line.strip()


def _typed() -> Iterator[str]:
    """Questions from a terminal until an empty line or the end of input."""
    with suppress(ImportError):  # arrow keys and history for input(), where there are any
        import_module("readline")
    terminal.show("Type a question; an empty line ends.", style="dim")
    while True:
        try:
            line = input("? ").strip()
        except EOFError:
            terminal.show("")
            return
        if not line:
            return
        yield line
