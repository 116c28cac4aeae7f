"""What only real servers show: a start that fails, a shutdown that delivers, also under trio."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.facilities import needs_signals
from tests.hosted import Hosted

if TYPE_CHECKING:
    from whisperr.dev import LocalServer

pytestmark = [
    pytest.mark.skipif(find_spec("fastapi") is None, reason="FastAPI is not installed"),
    needs_signals,
]

NO_LIFESPAN = "WhisperrMiddleware has seen no lifespan"
SERVERS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            any(find_spec(module) is None for module in name.split(", ")),
            reason=f"{name} is not installed",
        ),
    )
    for name in ("uvicorn", "hypercorn", "hypercorn, trio")
]


def serve(name: str, app: str, server: LocalServer, **given: str) -> Hosted:
    module, _, kind = name.partition(", ")
    if module == "uvicorn":
        return Hosted(module, "--port", 0, f"tests.asgi.served:{app}", server=server, **given)
    options = ["--bind", "127.0.0.1:0", "--worker-class", kind or "asyncio"]
    return Hosted(module, *options, f"tests.asgi.served:{app}", server=server, **given)


@pytest.mark.parametrize("name", SERVERS)
class TestServers:
    def test_what_waits_is_delivered_before_the_server_ends(
        self, name: str, server: LocalServer
    ) -> None:
        with serve(name, "app", server) as host:
            host.wait_for_output("the lifespan of the application runs")
            ids = [host.post("/cancel", f"user_{n}") for n in range(3)]
            output = host.stop()
        assert "Traceback" not in output
        assert NO_LIFESPAN not in output
        assert [a.user for a in server.arrivals()] == [f"user_{n}" for n in range(3)]
        assert [f'"{a.body["context"]["$message_id"]}"' for a in server.arrivals()] == ids

    def test_without_a_key_the_server_does_not_start_and_says_why(
        self, name: str, server: LocalServer
    ) -> None:
        with serve(name, "app", server, WHISPERR_API_KEY="") as host:
            output = host.wait()
        assert "whisperr: api_key: is empty" in output
        assert "the lifespan of the application runs" not in output

    def test_a_mounted_application_says_that_nothing_is_delivered_at_the_end(
        self, name: str, server: LocalServer
    ) -> None:
        with serve(name, "mounted", server) as host:
            for number in range(2):
                host.post("/shop/cancel", f"user_{number}")
            output = host.stop()
        assert output.count(NO_LIFESPAN) == 1
        assert "app = flush_on_shutdown(app)" in output

    def test_wrapped_as_it_says_the_mounted_application_delivers(
        self, name: str, server: LocalServer
    ) -> None:
        with serve(name, "wrapped", server) as host:
            host.post("/shop/cancel", "user_1")
            output = host.stop()
        assert NO_LIFESPAN not in output
        assert [a.user for a in server.arrivals()] == ["user_1"]


@pytest.mark.parametrize("name", SERVERS[:2])
def test_an_event_whose_user_is_still_being_read_at_the_end_is_delivered(
    name: str, server: LocalServer
) -> None:
    with serve(name, "slow", server) as host:
        host.post("/later", "user_1")
        host.stop()
    assert [a.user for a in server.arrivals()] == ["user_1"]
