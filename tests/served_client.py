"""Fixtures: a local server, and a client of it that only a flush or the end makes deliver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from whisperr import Whisperr, WhisperrError
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started


@pytest.fixture
def errors() -> list[WhisperrError]:
    """What `on_error` was called with."""
    return []


@pytest.fixture
def client(server: LocalServer, errors: list[WhisperrError]) -> Iterator[Whisperr]:
    with Whisperr(
        "wrk_test", base_url=server.url, flush_interval=3600, on_error=errors.append
    ) as made:
        yield made
