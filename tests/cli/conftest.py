"""A local server that the environment names, and the command as a shell calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from whisperr._cli.main import main
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Call = Callable[..., "Ended"]


class Ended(NamedTuple):
    """The exit code of a call, and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    with LocalServer() as started:
        monkeypatch.setenv("WHISPERR_BASE_URL", started.url)
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_test")
        yield started
        started.set_faults()


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*words: str) -> Ended:
        capsys.readouterr()
        try:
            code = main(words)
        except SystemExit as end:  # argparse refused the call
            code = int(end.code or 0)
        return Ended(code, *capsys.readouterr())

    return call
