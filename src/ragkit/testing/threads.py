"""Work done by several threads at once, interrupted as often as Python can. Knows no role."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError
from typing import Any

_INTERVAL = 1e-5  # seconds between switches; a thread is interrupted wherever it may be


def together(work: Callable[[int], Any], threads: int, rounds: int) -> list[list[Any]]:
    """What work(i) gives in each of some threads that begin together, round after round."""
    barrier = Barrier(threads)

    def one(i: int) -> list[Any]:
        found = []
        try:
            for _ in range(rounds):
                barrier.wait(600)
                found.append(work(i))
        except BaseException:
            barrier.abort()  # or the others would wait for it
            raise
        return found

    interval = sys.getswitchinterval()
    sys.setswitchinterval(_INTERVAL)
    try:
        with ThreadPoolExecutor(threads) as pool:
            futures = [pool.submit(one, i) for i in range(threads)]
            errors = [error for future in futures if (error := future.exception()) is not None]
            if errors:  # a broken barrier is the echo of another's error
                raise next((e for e in errors if not isinstance(e, BrokenBarrierError)), errors[0])
            return [future.result() for future in futures]
    finally:
        sys.setswitchinterval(interval)
