"""A local server for real processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(keep=600_000) as started:
        yield started
