"""gevent: a wait of the client blocks only the greenlet that waits."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.hosts.host import APPS, Host, counts, needs, once
from whisperr.dev import faults

if TYPE_CHECKING:
    from whisperr.dev import LocalServer

pytestmark = needs("gevent")


@pytest.mark.parametrize("ending", ["shutdown", "exit"])
@pytest.mark.parametrize(
    "order", ["patch, import, make", "import, patch, make", "import, make, patch"]
)
def test_a_patched_program_delivers_and_blocks_no_greenlet(
    server: LocalServer, order: str, ending: str
) -> None:
    server.set_faults(faults.latency(0.3))
    command = [sys.executable, APPS / "gevent_shop.py"]
    with Host(command, server, ORDER=order, ENDING=ending) as host:
        assert host.wait() == 0
    output = ["flushed True", "other greenlets ran True"]
    assert host.text.splitlines() == output + (["shut down True"] if ending == "shutdown" else [])
    assert counts(server, "task_done") == once(range(9))
    assert counts(server, "thread_done") == once(range(8))
    assert counts(server, "at_the_end") == once([0])
