"""What every test leaves as it was."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator


__all__ = ["redis_server"]  # a fixture for all folders


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
    for name in ("WHISPERR_API_KEY", "WHISPERR_BASE_URL", "WHISPERR_BUFFER"):
        monkeypatch.delenv(name, raising=False)
