"""A local server for real hosts."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _ctrl_c_is_handled() -> Iterator[None]:
    """Handle SIGINT, which a shell in the background lets its programs ignore."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started
