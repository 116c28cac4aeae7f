"""What every test leaves as it was."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["pytester"]  # runs pytest in tests/testing


@pytest.fixture(autouse=True)
def _logger_as_before() -> Iterator[None]:
    """Take back what the `debug` option adds to the logger of the process."""
    log = logging.getLogger("whisperr")
    handlers, level = list(log.handlers), log.level
    yield
    log.handlers[:] = handlers
    log.setLevel(level)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no variable of the machine change what a client does."""
    for name in ("WHISPERR_API_KEY", "WHISPERR_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
