"""What the tests of functions share: a local server, its client, and what Lambda passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.served_client import server
from whisperr import Whisperr

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whisperr.dev import LocalServer

__all__ = ["server"]  # a fixture for the tests


class Context:
    """What Lambda passes, as far as it is used."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


@pytest.fixture
def client(server: LocalServer) -> Iterator[Whisperr]:
    with Whisperr("wrk_test", base_url=server.url, flush_interval=3600, max_retries=0) as made:
        yield made
        server.set_faults()
