"""Real servers deliver what waits when they end, or the log says that they will not."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.facilities import needs_signals
from tests.hosted import Hosted

if TYPE_CHECKING:
    from whisperr.dev import LocalServer

pytestmark = needs_signals
APP = "tests.wsgi.served:application"
NO_EXIT = "SIGTERM ends waitress without Python's exit"
USERS = [f"user_{n}" for n in range(6)]


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed")


def use(host: Hosted) -> str:
    """Track for each user; return the output after SIGTERM."""
    ids = [host.post("/", user) for user in USERS]
    assert len(set(ids)) == len(USERS)
    return host.stop()


@needs("gunicorn")
@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["loaded by workers", "preloaded"])
@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_what_waits_is_delivered_when_the_workers_end(
    server: LocalServer, kind: str, preload: list[str]
) -> None:
    options = ["-b", "127.0.0.1:0", "-w", 2, "-k", kind, *preload, APP]
    with Hosted("gunicorn", *options, server=server) as host:
        host.wait_for_output("Booting worker")
        output = use(host)
    assert "Traceback" not in output
    assert "SIGTERM ends" not in output
    assert sorted(str(a.user) for a in server.arrivals()) == USERS


@needs("waitress")
@pytest.mark.parametrize("handled", [False, True])
def test_waitress_delivers_if_the_program_handles_sigterm_and_says_so_otherwise(
    server: LocalServer, handled: bool
) -> None:
    options = ["--listen", "127.0.0.1:0", APP]
    with Hosted("waitress", *options, server=server, HANDLE_SIGTERM=str(int(handled))) as host:
        output = use(host)
    assert output.count(NO_EXIT) == (0 if handled else 1)
    assert sorted(str(a.user) for a in server.arrivals()) == (USERS if handled else [])
