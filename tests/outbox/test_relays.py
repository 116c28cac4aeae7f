"""Relays as processes: several at once, killed, stopped, with the server or the database away."""

from __future__ import annotations

import re
import signal
import sys
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from tests.hosts.host import BOUND, Host
from tests.outbox.killed_relays import add_rows, deliver
from tests.outbox.relays import SQLiteFile, events, get_environment, identify, manage, relay
from whisperr.dev import faults

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgres_server import Database, PostgresServer
    from whisperr.dev import LocalServer

ROWS = 20_000


def numbers(server: LocalServer) -> list[int]:
    """Return the numbers of the events that the server took, in the order of their arrival."""
    return [a.body["properties"]["n"] for a in server.arrivals(status="accepted", kind="event")]


def test_four_relays_lose_nothing_and_send_nothing_twice(
    outbox: Database, server: LocalServer
) -> None:
    with ExitStack() as stack:
        relays = [stack.enter_context(relay(outbox, server, "--batch", "100")) for _ in range(4)]
        for one in relays:
            one.wait_for_output("relaying")
        outbox.add(events(ROWS))
        server.wait(ROWS, timeout=BOUND * 4)
        for one in relays:
            assert one.stop() == 0
        outputs = [one.text for one in relays]
    assert sorted(numbers(server)) == list(range(ROWS))
    assert server.summary()["duplicates"] == 0
    assert outbox.count() == 0
    delivered = [
        int(count.replace(",", ""))
        for count in re.findall(r"stopped: delivered ([0-9,]+)", "".join(outputs))
    ]
    assert sum(delivered) == ROWS
    assert sum(count > 0 for count in delivered) > 1, "one relay did it all"


def test_relays_that_are_killed_again_and_again_lose_nothing(outbox: Database) -> None:
    """What they had sent without recording it is sent again; the server counts by the ids."""
    rows, kills = 12_000, 3
    add_rows(outbox, rows)

    def is_due(_: float, events: int) -> bool:
        return events >= rows // (kills + 1)

    outcome = deliver(outbox, rows, 4, is_due, "--batch", "100", "--lease", "2", limit=BOUND * 4)
    assert outcome.unique == rows
    assert 1 <= outcome.kills <= kills
    assert outcome.doubled <= outcome.kills * 100
    assert outbox.count() == 0


def test_a_row_whose_transaction_commits_late_is_delivered_after_those_with_later_ids(
    outbox: Database, server: LocalServer
) -> None:
    from psycopg import connect

    late, *others = events(1_001)
    with relay(outbox, server, "--batch", "100") as one, closing(connect(outbox.address)) as open_:
        one.wait_for_output("relaying")
        open_.execute("INSERT INTO whisperr_outboxevent (data, token) VALUES (%s, '')", [late])
        outbox.add(others)
        server.wait(1_000, timeout=BOUND)
        open_.commit()
        server.wait(1_001, timeout=BOUND)
        assert one.stop() == 0
    assert numbers(server) == [*range(1, 1_001), 0]
    assert outbox.count() == 0


def test_two_relays_share_a_database_that_cannot_skip_locked_rows(
    tmp_path: Path, server: LocalServer
) -> None:
    file = SQLiteFile(tmp_path / "outbox.sqlite3")
    manage(file, "migrate", "--verbosity", "0")
    with ExitStack() as stack:
        relays = [stack.enter_context(relay(file, server, "--batch", "20")) for _ in range(2)]
        for one in relays:
            one.wait_for_output("relaying")
        file.add(events(2_000))
        server.wait(2_000, timeout=BOUND * 4)
        for one in relays:
            assert one.stop() == 0
        output = "".join(one.text for one in relays)
    assert sorted(numbers(server)) == list(range(2_000))
    assert server.summary()["duplicates"] == 0
    assert file.count() == 0
    assert "Traceback" not in output


def test_one_relay_keeps_the_order_of_the_rows(outbox: Database, server: LocalServer) -> None:
    rows = events(30)
    outbox.add([*rows[:10], identify("user_1"), identify("user_2"), *rows[10:]])
    with relay(outbox, server, "--once") as once:
        assert once.wait() == 0
    kinds = [a.kind for a in server.arrivals()]
    assert kinds == ["event"] * 10 + ["identify"] * 2 + ["event"] * 20
    assert numbers(server) == list(range(30))


def test_once_delivers_everything_that_is_there_and_ends(
    outbox: Database, server: LocalServer
) -> None:
    outbox.add(events(7))
    with relay(outbox, server, "--once", "--batch", "3") as once:
        assert once.wait() == 0
        assert "stopped: delivered 7, dead letters 0" in once.text
    assert outbox.count() == 0


def test_once_fails_with_the_reason_when_it_cannot_deliver(
    outbox: Database, server: LocalServer
) -> None:
    outbox.add(events(7))
    server.set_faults(faults.wrong_key())
    with relay(outbox, server, "--once") as once:
        assert once.wait() == 1
        assert re.search(r"CommandError: not everything was delivered: .*HTTP 401", once.text)
    assert outbox.query("SELECT count(*) FROM whisperr_outboxevent WHERE token = ''") == [(7,)]


def test_another_relay_takes_over_from_a_killed_one_within_its_lease(
    outbox: Database, server: LocalServer
) -> None:
    outbox.add(events(5))
    server.set_faults(faults.hang(times=1))
    with relay(outbox, server, "--lease", "2", OUTBOX_REQUEST_TIMEOUT=1.9) as first:
        server.wait_requests(1)
        first.send(signal.SIGKILL)
        first.wait()
        (claimed,) = outbox.query("SELECT count(*) FROM whisperr_outboxevent WHERE token <> ''")
        assert claimed == (5,)
        with relay(outbox, server) as second:
            server.wait(5, timeout=BOUND)
            assert second.stop() == 0
    assert numbers(server) == [0, 1, 2, 3, 4]
    assert outbox.count() == 0


def test_no_transaction_is_open_during_a_request(outbox: Database, server: LocalServer) -> None:
    outbox.add(events(5))
    server.set_faults(faults.hang(times=1))
    with relay(outbox, server, OUTBOX_REQUEST_TIMEOUT=3):
        server.wait_requests(1)
        states = outbox.query(
            "SELECT state, xact_start FROM pg_stat_activity "
            "WHERE datname = %s AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
            outbox.name,
        )
        assert states
        assert set(states) == {("idle", None)}
        server.wait(5, timeout=BOUND)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_relay_cleanly_while_the_server_hangs(
    outbox: Database, server: LocalServer, number: int
) -> None:
    outbox.add(events(5))
    server.set_faults(faults.hang())
    with relay(outbox, server, OUTBOX_REQUEST_TIMEOUT=2) as one:
        server.wait_requests(1)
        assert one.stop(number) == 0
        assert "stopped: delivered 0, dead letters 0" in one.text
    free = "SELECT count(*) FROM whisperr_outboxevent WHERE token = '' AND leased_until IS NULL"
    assert outbox.query(free) == [(5,)]


def test_the_server_is_away_and_comes_back(outbox: Database, server: LocalServer) -> None:
    outbox.add(events(5))
    server.set_faults(faults.cut(times=1), faults.status(503, times=1))
    with relay(outbox, server) as one:
        server.wait(5, timeout=BOUND)
        assert one.stop() == 0
        assert "delivered 5" in one.text
    assert numbers(server) == [0, 1, 2, 3, 4]


def cut_connections(outbox: Database) -> None:
    """End all connections to this database, as a failover does."""
    cut = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = %s AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    assert outbox.query(cut, outbox.name)[0][0] > 0


def test_a_connection_that_is_cut_is_made_again(outbox: Database, server: LocalServer) -> None:
    with relay(outbox, server) as one:
        outbox.add(events(3))
        server.wait(3, timeout=BOUND)
        cut_connections(outbox)
        outbox.add(events(3, first=3))
        server.wait(6, timeout=BOUND)
        one.wait_for_output("the outbox can be used again")
        assert one.stop() == 0
        assert one.text.count("the relay tries again") == 1
        assert "Traceback" not in one.text
    assert numbers(server) == list(range(6))
    assert server.summary()["duplicates"] == 0


def test_a_connection_that_is_cut_during_a_request_loses_and_doubles_nothing(
    outbox: Database, server: LocalServer
) -> None:
    outbox.add(events(3))
    server.set_faults(faults.hang(times=1))
    with relay(outbox, server, OUTBOX_REQUEST_TIMEOUT=2) as one:
        server.wait_requests(1)
        cut_connections(outbox)
        server.wait(3, timeout=BOUND)
        one.wait_for_output("the outbox can be used again")
        assert one.stop() == 0
        assert "stopped: delivered 3" in one.text
    assert outbox.count() == 0
    assert server.summary()["duplicates"] == 0


def test_a_row_that_is_no_event_becomes_a_dead_letter_and_blocks_nothing(
    outbox: Database, server: LocalServer
) -> None:
    good = events(4)
    outbox.add([good[0], b"\xff\x00 nothing of ours", good[1], b"[1]", good[2], good[3]])
    with relay(outbox, server, "--once") as once:
        assert once.wait() == 0
        assert "delivered 4, dead letters 2 (invalid 2)" in once.text
    assert numbers(server) == [0, 1, 2, 3]
    assert server.summary()["requests"] == 1


def add_with_a_bad_one(outbox: Database) -> bytes:
    """Add five events, the third of which the server refuses; return that one."""
    rows = events(5)
    bad = rows[2].replace(b'"properties":{"n":2}', b'"properties":[]')
    outbox.add([*rows[:2], bad, *rows[3:]])
    return bad


def test_what_the_server_refuses_is_kept_and_delivered_after_requeue(
    outbox: Database, server: LocalServer
) -> None:
    bad = add_with_a_bad_one(outbox)
    server.set_faults(faults.legacy())
    with relay(outbox, server, "--once") as once:
        assert once.wait() == 0
        assert "delivered 4, dead letters 1 (rejected 1)" in once.text
    ((data, reason, message, status),) = outbox.query(
        "SELECT data, reason, message, status FROM whisperr_deadletter"
    )
    assert (bytes(data), reason, status) == (bad, "rejected", 400)
    assert "answered HTTP 400" in message


def test_a_202_that_refuses_some_keeps_all_of_that_request(
    outbox: Database, server: LocalServer
) -> None:
    add_with_a_bad_one(outbox)
    with relay(outbox, server, "--once") as once:
        assert once.wait() == 0
    dead_letters = outbox.query("SELECT reason, message, status FROM whisperr_deadletter")
    message = (
        "the server refused 1 of 5 and did not say which; requeueing all of them is harmless, "
        "because they keep their ids"
    )
    assert dead_letters == [("refused_in_batch", message, 202)] * 5
    manage(outbox, "whisperr_outbox", "--requeue", "--all")
    with relay(outbox, server, "--once") as once:
        assert once.wait() == 0
    assert sorted(numbers(server)) == [0, 1, 3, 4]
    assert outbox.count() == 0


TRACK = """
import os, signal
import django
django.setup()
from django.db import DatabaseError, connection, transaction
from whisperr.django import get_client
track = get_client().track
try:
    with transaction.atomic():
        assert track("user_0", "payment_failed", {"n": 0})
        raise RuntimeError("of the caller")
except RuntimeError:
    pass
with transaction.atomic():
    assert track("user_1", "payment_failed", {"n": 1})
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 200")
        cursor.execute("SAVEPOINT before")
        cursor.execute("ALTER TABLE whisperr_outboxevent RENAME TO elsewhere")
        assert track("user_2", "payment_failed", {"n": 2}) is None  # and the transaction continues
        cursor.execute("ROLLBACK TO SAVEPOINT before")
    assert track("user_3", "payment_failed", {"n": 3})
stats = get_client().stats()
assert (stats.accepted, stats.not_accepted) == (3, {"not_stored": 1}), stats
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_committed_transaction_tracked_arrives_after_the_kill_of_its_process(
    outbox: Database, server: LocalServer
) -> None:
    tracks = {**get_environment(outbox), "WHISPERR_BUFFER": "django"}
    with Host([sys.executable, "-c", TRACK], server, **tracks) as writer:
        assert writer.wait() == -signal.SIGKILL, writer.text
    assert outbox.count() == 2
    with relay(outbox, server, "--once", WHISPERR_BUFFER="django") as once:
        assert once.wait() == 0, once.text
    assert numbers(server) == [1, 3]


def test_a_relay_without_its_tables_fails_with_the_fix(
    postgres_server: PostgresServer, server: LocalServer
) -> None:
    empty = postgres_server.database()
    with relay(empty, server) as one:
        assert one.wait() == 1
        assert "has no tables of the outbox: run manage.py migrate --database default" in one.text
