"""How an answer looks in a terminal: its words coloured by the passage they came from,
the passages with prior and posterior as bars (Figure 2 of the paper, in one line each).

Everything here takes an `Answer` and returns something that rich can print; it knows
nothing of models, and prints nothing. Colour is never the only sign: every run of words
carries the number of its passage, so it reads the same without colours.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ragkit.answer import Answer, ReadPassage

COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red")
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")
_LEAD = 24  # cells of a passage shown before the answer in it


def answer_view(answer: Answer, *, asked: bool = False, shown: int | None = None) -> RenderableType:
    """The whole answer: text, probability, passages.

    asked: begin with the question. shown: passages to list, best retrieved first; all by
    default.
    """
    parts: list[RenderableType] = []
    if asked:
        parts += [Text(clean(answer.question), style="bold"), Text()]
    parts.append(answer_line(answer))
    if answer.passages:
        parts += [Text(), passage_table(answer, shown)]
    return Group(*parts)


def answer_line(answer: Answer) -> RenderableType:
    """The answer in its colours, and p(y|x) at the right."""
    words = answer_text(answer) if answer.text.strip() else Text("(no answer)", style="dim")
    line = Table.grid(expand=True, padding=(0, 2, 0, 0))
    line.add_column(ratio=1)
    line.add_column(justify="right", no_wrap=True)
    line.add_row(Text("  ") + words, Text(f"p(y|x) {probability(answer)}", style="dim"))
    return line


def answer_text(answer: Answer) -> Text:
    """The words, each run in the colour and with the number of its passage.

    With a posterior per token (RAG-Token) a token belongs to the passage that most
    probably gave it; otherwise all belong to the most probable passage.
    """
    text = Text(style="bold")
    for source, pieces in groupby(_sources(answer), key=lambda pair: pair[0]):
        words = clean("".join(piece for _, piece in pieces), edges=True)
        body = words.rstrip()
        if source is None or not body:
            text.append(words)
            continue
        text.append(body, style=colour(source))
        text.append(superscript(source + 1), style=colour(source))
        text.append(words[len(body) :])
    return text


def passage_table(answer: Answer, shown: int | None = None) -> RenderableType:
    """One line per passage: number, prior, posterior, title and text near the answer."""
    return _Passages(answer, shown)


def colour(passage: int) -> str:
    """The colour of a passage by its position, from 0."""
    return COLOURS[passage % len(COLOURS)]


def superscript(number: int) -> str:
    return str(number).translate(_SUPERSCRIPT)


def probability(answer: Answer) -> str:
    """p(y|x) in three digits; a power of ten where it is very small."""
    value = answer.probability
    return f"{value:.3f}" if value >= 0.001 or value == 0 else f"{value:.0e}"


def clean(text: str, *, edges: bool = False) -> str:
    """Text that is safe to print on a line: no control characters, single spaces.

    A passage may hold anything, also sequences that steer a terminal or turn its direction.
    ``edges`` keeps a space at either end.
    """
    visible = "".join(map(_visible, text))
    line = " ".join(visible.split())
    if not edges:
        return line
    before = " " if visible[:1].isspace() and line else ""
    after = " " if visible[-1:].isspace() else ""
    return before + line + after


def _visible(c: str) -> str:
    kind = unicodedata.category(c)
    if kind == "Cf":  # joiners shape words in many scripts; the others are not to be seen
        return c if c in "\u200c\u200d" else ""
    return " " if kind[0] == "C" else c


def excerpt(text: str, answer: str) -> Text:
    """The text from a little before the first mention of the answer, which is underlined."""
    line, wanted = clean(text), clean(answer)
    at = line.casefold().find(wanted.casefold()) if wanted else -1
    # Case folding may change lengths ("ß"): then the position would be wrong.
    if at < 0 or len(line.casefold()) != len(line):
        return Text(line)
    start = 0
    if cell_len(line[:at]) > _LEAD:
        start = line.rfind(" ", 0, max(0, at - _LEAD // 2)) + 1
    found = Text(("…" if start else "") + line[start:])
    offset = at - start + bool(start)
    found.stylize("underline", offset, offset + len(wanted))
    return found


class _Passages:
    """The lines of the passages, which look at the width that there is."""

    def __init__(self, answer: Answer, shown: int | None) -> None:
        self.answer = answer
        self.shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        cells = min(16, max(0, (options.max_width - 44) // 5))  # of each bar
        passages = self.answer.passages[: self.shown]
        column = cells + 8 if cells else 11
        head = f"     {'prior':<{column}}{'posterior':<{column}}passage"
        yield _fitted(Text(head, style="dim"), options.max_width)
        for number, passage in enumerate(passages):
            yield _fitted(self._line(number, passage, cells), options.max_width)
        hidden = len(self.answer.passages) - len(passages)
        if hidden:
            yield Text(f"     and {hidden} more", style="dim")

    def _line(self, number: int, passage: ReadPassage, cells: int) -> Text:
        painted = colour(number)
        line = Text().append(f"{number + 1:>3}  ", style=painted)
        for share in (passage.prior, passage.posterior):
            if cells:
                line.append(bar(share, cells), style=painted)
            line.append(f"{percent(share):>6}  " if cells else f"{percent(share):<11}")
        title = clean(passage.title)
        if title:
            line.append(title, style="bold").append("  ")
        return line.append(excerpt(passage.text, self.answer.text))


def bar(share: float, cells: int) -> str:
    """A bar of so many cells, filled to the nearest eighth of a cell from the left."""
    eighths = round(min(max(share, 0.0), 1.0) * cells * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + _EIGHTHS[rest]).ljust(cells)


def percent(share: float) -> str:
    """Five cells wide at most: ``81.2%``, ``100%``."""
    return f"{100 * share:.0f}%" if share >= 0.9995 else f"{100 * share:.1f}%"


def _sources(answer: Answer) -> list[tuple[int | None, str]]:
    """Each piece of the answer with the position of its passage, None where none was read."""
    if not answer.passages:
        return [(None, answer.text)]
    if answer.token_posterior is None:
        return [(_best([one.posterior for one in answer.passages]), answer.text)]
    by_token = zip(answer.token_posterior, answer.tokens, strict=True)
    return [(_best(shares), piece) for shares, piece in by_token]


def _best(shares: Sequence[float]) -> int:
    return max(range(len(shares)), key=shares.__getitem__)


def _fitted(line: Text, width: int) -> Text:
    line.no_wrap = True
    line.truncate(width, overflow="ellipsis")
    return line
