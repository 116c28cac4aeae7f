"""The example under a real gunicorn: each worker delivers at its end."""

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
    needs_signals,
    *(
        pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed")
        for name in ("flask", "gunicorn")
    ),
]


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["loaded by workers", "preloaded"])
@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_what_waits_is_delivered_when_the_workers_end(
    server: LocalServer, kind: str, preload: list[str]
) -> None:
    options = ["--chdir", EXAMPLES, "-b", "127.0.0.1:0", "-w", 2, "-k", kind, *preload]
    with Hosted("gunicorn", *options, "flask_app:app", server=server) as host:
        host.wait_for_output("Booting worker")
        users = {f"user_{n}" for n in range(6)}
        for user in sorted(users):
            host.post("/subscription/cancel", user)
        output = host.stop(signal.SIGTERM)
    assert "Traceback" not in output
    assert sorted(str(a.user) for a in server.arrivals()) == sorted(users)
