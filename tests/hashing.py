"""An encoder without a model: vectors from a hash of the text, and a log of what it encoded."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ragkit.protocols import Passage


def vector(text: str, dimension: int = 8) -> np.ndarray:
    """(D,) float16-representable numbers, the same for the same text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    drawn = np.random.default_rng(seed).standard_normal(dimension)
    return drawn.astype(np.float16).astype(np.float32)


class HashEncoder:
    """`ragkit.protocols.Encoder`; appends the id of every encoded passage to a file."""

    def __init__(
        self,
        log: Path | None = None,
        dimension: int = 8,
        fingerprint: str = "hash",
        delay: float = 0.0,
    ) -> None:
        self.dimension = dimension
        self.fingerprint = fingerprint
        self.log = log
        self.delay = delay

    def questions(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.from_numpy(np.stack([vector(text, self.dimension) for text in texts]))

    def passages(self, passages: Sequence[Passage]) -> torch.Tensor:
        if self.log is not None:
            with self.log.open("a") as file:
                file.write("".join(f"{passage.id}\n" for passage in passages))
        time.sleep(self.delay)
        return self.questions([passage.text for passage in passages])

    def encoded(self) -> list[str]:
        """Ids of all passages encoded so far, in this process and in others."""
        if self.log is None or not self.log.exists():
            return []
        return self.log.read_text().split()


class LetterGenerator:
    """`ragkit.protocols.SupportsPassageTokens`: a token is the code of a character."""

    tokenization = "letters"

    def passage_tokens(self, passages: Sequence[Passage]) -> list[list[int]]:
        return [[ord(letter) for letter in passage.text] for passage in passages]


def passages(count: int, first: int = 0) -> list[Passage]:
    return [
        Passage(f"p{i}", f"Title {i}", f"passage number {i} " + "x" * (i * 7 % 11))
        for i in range(first, first + count)
    ]


def build_in_child(work: object, timeout: float | None = None) -> int:
    """Run work() in a forked child; its exit code, or -9 where it was killed after timeout."""
    pid = os.fork()
    if pid == 0:
        try:
            work()  # type: ignore[operator]
        except BaseException:
            os._exit(3)
        os._exit(0)
    if timeout is not None:
        time.sleep(timeout)
        os.kill(pid, 9)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)
