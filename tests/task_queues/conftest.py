"""The servers that the workers of this folder need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hosts.trials.trial import Services
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with Services() as started:
        yield started
