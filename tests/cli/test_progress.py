"""The progress bar of an import: on a terminal only, and removed at the end."""

from __future__ import annotations

import io

import pytest

from tests.facilities import needs_terminal
from whisperr._cli.progress import Progress, ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)


@needs_terminal
def test_it_shows_the_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    bar = ProgressBar(stream)
    bar.show(Progress(line=1_234, records=1_234, refused=3, rejected=1), 0.5)
    text = stream.getvalue()
    assert text.startswith(f"\r\x1b[K[{'#' * 15}{'.' * 15}]  50% line 1,234, ")
    assert text.endswith("/s, refused 4")
    bar.line("line 7: not JSON")
    bar.end()
    assert stream.getvalue().endswith("\r\x1b[Kline 7: not JSON\n\r\x1b[K")


def test_it_is_drawn_a_few_times_a_second_at_most() -> None:
    stream = Terminal()
    bar = ProgressBar(stream)
    for line in range(1_000):
        bar.show(Progress(line=line), line / 1_000)
    assert stream.getvalue().count("\r") < 100


@needs_terminal
def test_it_has_colour_unless_no_color_is_set() -> None:
    stream = Terminal()
    ProgressBar(stream).show(Progress(line=1), 1.0)
    assert "\x1b[32m" in stream.getvalue()


def test_it_fits_into_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    ProgressBar(stream).show(Progress(line=1_000_000, refused=1), 1.0)
    assert len(stream.getvalue().removeprefix("\r\x1b[K")) <= 40


def test_it_is_not_written_to_a_file() -> None:
    stream = io.StringIO()
    bar = ProgressBar(stream)
    bar.show(Progress(line=1), 1.0)
    bar.line("line 7: not JSON")
    bar.end()
    assert stream.getvalue() == "line 7: not JSON\n"
