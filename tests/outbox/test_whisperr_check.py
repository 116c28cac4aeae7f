"""`manage.py whisperr_check` beside a real relay on a real PostgreSQL."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.hosts.host import BOUND
from tests.outbox.relays import events, manage, relay
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    import pytest

    from tests.postgres_server import Database

ROWS = 50
AGED = "UPDATE whisperr_outboxevent SET created_at = now() - interval '1 hour'"


def check(outbox: Database, code: int = 0) -> dict[str, str]:
    """Run the command, and return its lines by the names of the checks."""
    output = manage(outbox, "whisperr_check", "--no-color", code=code)
    return {line[2:20].strip(): line[20:] for line in output.splitlines() if line[:1] != " "}


def test_a_relay_is_seen_while_it_delivers_and_missed_when_it_has_stopped(
    outbox: Database, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalServer() as other:  # for the command: the relay waits for an answer of its own
        monkeypatch.setenv("WHISPERR_BASE_URL", other.url)
        monkeypatch.setenv("WHISPERR_BUFFER", "django")
        lines = check(outbox)
        assert lines["buffer"] == "the outbox, tables of the database 'default' (postgresql)"
        assert lines["backlog"] == "nothing waits"
        outbox.add(events(ROWS))
        outbox.query(AGED)
        assert check(outbox, code=1)["relay"] == "no relay has claimed a row that waits"
        server.set_faults(faults.hang())
        with relay(outbox, server, "--batch", str(ROWS), OUTBOX_REQUEST_TIMEOUT=BOUND) as one:
            one.wait_for_output("relaying")
            _wait_until_claimed(outbox)
            assert check(outbox)["relay"] == f"a relay has claimed {ROWS} rows"
            server.set_faults()
        server.set_faults()
        assert outbox.count() == ROWS


def _wait_until_claimed(outbox: Database) -> None:
    deadline = time.monotonic() + BOUND
    claimed = 0
    while claimed < ROWS:
        assert time.monotonic() < deadline, f"only {claimed} rows are claimed"
        ((claimed,),) = outbox.query("SELECT count(*) FROM whisperr_outboxevent WHERE token <> ''")
