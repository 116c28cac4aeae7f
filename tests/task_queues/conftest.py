"""The servers that the workers of this folder need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hosts.trials.trial import Services
from tests.served_client import server

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["server"]  # a fixture for the tests


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with Services() as started:
        yield started
