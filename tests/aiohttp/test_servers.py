"""What only real servers show: SIGTERM, with events that wait, and one that waits for its user."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.facilities import needs_signals
from tests.hosted import Hosted
from tests.hosts.trials.trial import get_free_port

if TYPE_CHECKING:
    from whisperr.dev import LocalServer


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed")


pytestmark = [needs_signals, needs("aiohttp")]
GUNICORN = ("-b", "127.0.0.1:0", "-w", 2, "-k", "aiohttp.GunicornWebWorker")


def serve(name: str, server: LocalServer) -> Hosted:
    if name == "gunicorn":
        return Hosted("gunicorn", *GUNICORN, "tests.aiohttp.served:app", server=server)
    return Hosted("tests.aiohttp.served", server=server, PORT=str(get_free_port()))


@pytest.mark.parametrize("name", ["run_app", pytest.param("gunicorn", marks=needs("gunicorn"))])
class TestServers:
    def test_what_waits_is_delivered_before_the_server_ends(
        self, name: str, server: LocalServer
    ) -> None:
        with serve(name, server) as host:
            ids = {host.post("/cancel", f"user_{n}") for n in range(3)}
            output = host.stop()
        assert "Traceback" not in output
        assert {a.body["context"]["$message_id"] for a in server.arrivals()} == ids
        assert sorted(str(a.user) for a in server.arrivals()) == [f"user_{n}" for n in range(3)]

    def test_an_event_whose_user_is_still_being_read_is_delivered(
        self, name: str, server: LocalServer
    ) -> None:
        with serve(name, server) as host:
            assert host.post("/later", "user_1") == "soon"
            host.stop()
        assert [(a.user, a.type) for a in server.arrivals()] == [("user_1", "report_made")]
