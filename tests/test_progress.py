"""Progress: nothing where nobody looks, a bar on stderr at a terminal, and never on stdout."""

from __future__ import annotations

import io
import os
import sys

import pytest

from ragkit.progress import Progress, quiet


def work(show: bool | None = None, total: int | None = 3) -> None:
    with Progress("encoding", total, show) as progress:
        for done in range(1, 4):
            progress.reach(done)


def test_silent_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    work()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("total", [3, None])
def test_shown_when_asked_on_stderr_alone(
    total: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    work(show=True, total=total)
    out, err = capsys.readouterr()
    assert out == ""
    assert "encoding" in err
    assert ("3/3" if total else "3/?") in err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_shown_at_a_terminal_and_told_no_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setitem(os.environ, "TERM", "xterm")
    work(show=False)
    assert sys.stderr.getvalue() == ""
    work()
    assert "3/3" in sys.stderr.getvalue()


def test_an_error_within_ends_the_bar_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setitem(os.environ, "TERM", "xterm")
    with pytest.raises(ZeroDivisionError), Progress("encoding", 3) as progress:
        progress.reach(1 // 0)
    written = sys.stderr.getvalue()  # the cursor is shown again, after it was hidden
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")


def test_bars_of_transformers_come_back_after_quiet() -> None:
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    try:
        for enabled in (True, False):
            (logging.enable_progress_bar if enabled else logging.disable_progress_bar)()
            with pytest.raises(ZeroDivisionError), quiet():
                1 / int(logging.is_progress_bar_enabled())  # no bars within, so an error
            assert logging.is_progress_bar_enabled() is enabled
    finally:
        (logging.enable_progress_bar if before else logging.disable_progress_bar)()
