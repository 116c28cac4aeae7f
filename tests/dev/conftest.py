"""A local server whose clock stands still. A file that needs another one has its own `server`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.dev.wire import NOW
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(clock=lambda: NOW) as started:
        yield started
