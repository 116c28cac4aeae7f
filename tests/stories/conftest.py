"""A local server and clients for the stories; each client is shut down at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.served_client import errors, server
from whisperr import Whisperr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whisperr import WhisperrError
    from whisperr.dev import LocalServer

    MakeClient = Callable[..., Whisperr]

__all__ = ["errors", "server"]  # fixtures for the stories


@pytest.fixture
def make_client(server: LocalServer, errors: list[WhisperrError]) -> Iterator[MakeClient]:
    """Make clients of the server, with `max_retries=0` by default, so that no story waits."""
    made = []

    def make(**options: Any) -> Whisperr:
        given = {"base_url": server.url, "max_retries": 0, "on_error": errors.append, **options}
        client = Whisperr("wrk_test", **given)
        made.append(client)
        return client

    yield make
    server.set_faults()
    for client in made:
        client.shutdown(10)
