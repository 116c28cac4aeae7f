"""What the tests of functions share: a local server, its client, and what Lambda passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from whisperr import Whisperr
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator


class Context:
    """What Lambda passes, as far as it is used."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started


@pytest.fixture
def client(server: LocalServer) -> Iterator[Whisperr]:
    with Whisperr("wrk_test", base_url=server.url, flush_interval=3600, max_retries=0) as made:
        yield made
        server.set_faults()
