"""How a question and a passage become one source text.

A form is a template such as ``{title} / {text} // {question}`` (the released models',
appendix D of the paper only says "concatenated"). It is cut into a passage piece, whose
tokens can be made once and kept, and a question piece, so that the two are joined as
tokens, never as text again. ``[SEP]`` between them stands for the tokenizer's separator
and gives segment ids (BERT). Knows nothing of tokenizers and tensors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ragkit.errors import ConfigError
from ragkit.protocols import Passage

BART = "{title} / {text} // {question}"
BERT = "{question} [SEP] {title} {text}"


def _unquoted(title: str) -> str:
    """Without one leading and one trailing double quote, as in DPR's Wikipedia file."""
    return title.removeprefix('"').removesuffix('"')


@dataclass(frozen=True)
class Form:
    """A template cut in two.

    passage, question: the pieces, each with its fields.
    passage_first: which comes first.
    separated: whether the tokenizer's separator stands between them.
    """

    template: str
    passage: str
    question: str
    passage_first: bool
    separated: bool

    @classmethod
    def parse(cls, template: str) -> Form:
        """Cut a template; raises `ConfigError` where a field is missing or out of order."""
        fields = re.findall(r"\{(\w*)\}", template)
        if sorted(fields) not in (["question", "text"], ["question", "text", "title"]):
            raise ConfigError(
                f"form {template!r} has the fields {fields}; it needs {{question}} and {{text}} "
                f"once each, and may have {{title}}. Try form={BART!r}"
            )
        place = fields.index("question")
        if place not in (0, len(fields) - 1):
            raise ConfigError(
                f"form {template!r} has the question between title and text; put it first or "
                f"last, as in {BART!r} or {BERT!r}"
            )
        passage_first = place != 0
        if "[SEP]" in template:
            parts = [part.strip() for part in template.split("[SEP]")]
            if len(parts) != 2 or "{question}" not in parts[passage_first]:
                raise ConfigError(
                    f"form {template!r}: [SEP] may stand once, between question and passage, "
                    f"as in {BERT!r}"
                )
            head, tail = parts
        else:
            last_of_head = fields[-2] if passage_first else "question"
            cut = template.index(f"{{{last_of_head}}}") + len(last_of_head) + 2
            head, tail = template[:cut], template[cut:]
        passage, question = (head, tail) if passage_first else (tail, head)
        return cls(template, passage, question, passage_first, "[SEP]" in template)

    def of_question(self, question: str) -> str:
        """The question piece."""
        return _fill(self.question, {"question": question})

    def of_passage(self, passage: Passage) -> str:
        """The passage piece; without title, what precedes the text is left out too."""
        title = _unquoted(passage.title)
        if not title and not passage.text:
            return ""
        piece = self.passage
        if not title and "{title}" in piece:
            title_at, text_at = piece.index("{title}"), piece.index("{text}")
            piece = piece[:title_at] + piece[max(title_at, text_at) :]
        return _fill(piece, {"title": title, "text": passage.text})


def _fill(piece: str, values: dict[str, str]) -> str:
    """In one pass, so that braces in a text stay text."""
    filled = re.sub(r"\{(\w+)\}", lambda field: values[field[1]], piece)
    return filled.replace("  ", " ")  # as the released models' composition does, once
