"""The example under a real uvicorn, which ends on SIGTERM without running `atexit`."""

from __future__ import annotations

import signal
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.facilities import needs_signals
from tests.hosted import EXAMPLES, Hosted

if TYPE_CHECKING:
    from whisperr.dev import LocalServer

pytestmark = [
    pytest.mark.skipif(find_spec("fastapi") is None, reason="FastAPI is not installed"),
    pytest.mark.skipif(find_spec("uvicorn") is None, reason="uvicorn is not installed"),
    needs_signals,
]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("workers", [1, 2])
def test_what_waits_is_delivered_before_the_server_ends(
    server: LocalServer, workers: int, number: signal.Signals
) -> None:
    options = ["--app-dir", EXAMPLES, "--port", 0, "--workers", workers, "fastapi_app:app"]
    with Hosted("uvicorn", *options, server=server) as host:
        host.wait_for_output("Application startup complete")
        ids = [host.post("/subscription/cancel", f"user_{n}") for n in range(5)]
        output = host.stop(number)
    assert "Traceback" not in output
    arrived = {f'{{"message_id":"{a.body["context"]["$message_id"]}"}}' for a in server.arrivals()}
    assert arrived == set(ids)
    assert {a.user for a in server.arrivals()} == {f"user_{n}" for n in range(5)}
