"""`whisperr relay` on the tables of a Django project, also beside `manage.py whisperr_relay`."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.hosts.host import BOUND
from tests.outbox.relays import SQLiteFile, events, manage, relay, relay_by_url
from whisperr.dev import faults

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgres_server import Database
    from whisperr.dev import LocalServer

pytest.importorskip("sqlalchemy")

ROWS = 4_000


def numbers(server: LocalServer) -> list[int]:
    return [a.body["properties"]["n"] for a in server.arrivals(status="accepted", kind="event")]


@pytest.fixture(params=["sqlite", "postgresql"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Database | SQLiteFile:
    """Databases that `migrate` has made the tables in."""
    if request.param == "postgresql":
        found: Database = request.getfixturevalue("outbox")
        return found
    file = SQLiteFile(tmp_path / "outbox.sqlite3")
    manage(file, "migrate", "--verbosity", "0")
    return file


def test_once_delivers_a_projects_table(both: Database | SQLiteFile, server: LocalServer) -> None:
    both.add(events(7))
    with relay_by_url(both, server, "--once") as once:
        assert once.wait() == 0, once.text
        assert "stopped: delivered 7, dead letters 0" in once.text
    assert numbers(server) == list(range(7))
    assert both.count() == 0


def test_relays_of_both_kinds_lose_nothing_and_send_nothing_twice(
    both: Database | SQLiteFile, server: LocalServer
) -> None:
    with ExitStack() as stack:
        relays = [
            stack.enter_context(start(both, server, "--batch", "50"))
            for start in (relay, relay_by_url)
        ]
        for one in relays:
            one.wait_for_output("relaying")
        both.add(events(ROWS))
        server.wait(ROWS, timeout=BOUND * 4)
        for one in relays:
            assert one.stop() == 0, one.text
        assert "Traceback" not in "".join(one.text for one in relays)
    assert sorted(numbers(server)) == list(range(ROWS))
    assert server.summary()["duplicates"] == 0
    assert both.count() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_request_under_way_and_gives_back_the_rest(
    outbox: Database, server: LocalServer, number: int
) -> None:
    outbox.add(events(5))
    server.set_faults(faults.latency(0.5))
    with relay_by_url(outbox, server, "--batch", "2") as one:
        server.wait_requests(1)
        assert one.stop(number) == 0
        assert "stopped: delivered " in one.text
    left = outbox.count()
    assert left == 5 - len(numbers(server))
    free = "SELECT count(*) FROM whisperr_outboxevent WHERE token = '' AND leased_until IS NULL"
    assert outbox.query(free) == [(left,)]


def test_the_other_kind_takes_over_from_a_killed_relay_within_its_lease(
    outbox: Database, server: LocalServer
) -> None:
    outbox.add(events(5))
    server.set_faults(faults.hang(times=1))
    with relay_by_url(outbox, server, "--lease", "2") as first:
        server.wait_requests(1)
        first.send(signal.SIGKILL)
        first.wait()
        with relay(outbox, server) as second:
            server.wait(5, timeout=BOUND)
            assert second.stop() == 0
    assert numbers(server) == [0, 1, 2, 3, 4]


def test_a_connection_that_is_cut_is_made_again(outbox: Database, server: LocalServer) -> None:
    with relay_by_url(outbox, server) as one:
        outbox.add(events(3))
        server.wait(3, timeout=BOUND)
        cut = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = %s AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        assert outbox.query(cut, outbox.name)[0][0] > 0
        outbox.add(events(3, first=3))
        server.wait(6, timeout=BOUND)
        one.wait_for_output("the outbox can be used again")
        assert one.stop() == 0
        assert "Traceback" not in one.text
        assert 'run "whisperr outbox"' in one.text
    assert numbers(server) == list(range(6))
    assert server.summary()["duplicates"] == 0


def test_no_transaction_is_open_during_a_request(outbox: Database, server: LocalServer) -> None:
    outbox.add(events(5))
    server.set_faults(faults.hang(times=1))
    with relay_by_url(outbox, server) as one:
        server.wait_requests(1)
        states = outbox.query(
            "SELECT state, xact_start FROM pg_stat_activity "
            "WHERE datname = %s AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
            outbox.name,
        )
        assert states
        assert set(states) == {("idle", None)}
        one.send(signal.SIGKILL)
        one.wait()
