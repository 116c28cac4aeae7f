"""`whisperr dead-letters`: what it shows, what it chooses, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import identify
from whisperr._queue.sqlite.store import SQLiteStore
from whisperr.errors import Loss

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Call, Ended

NOW = 1_795_867_200.0  # 2026-11-28 12:00 UTC
DAY = 86_400.0


def make_event(number: int, type_: str = "payment_failed", day: str = "2026-11-28") -> bytes:
    body = {
        "event_type": type_,
        "external_user_id": f"user_{number}",
        "occurred_at": f"{day}T11:59:00.000Z",
        "properties": {"amount": number, "plan": "pro\u202e\x1b[31m"},
        "context": {"$message_id": f"m{number}"},
    }
    return json.dumps(body, separators=(",", ":")).encode()


class Buffer:
    """A file with dead letters."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self.now = NOW
        self._store = SQLiteStore(
            str(path), "NORMAL", 15.0, 1_000, 1 << 26, lambda: self.now, dead_letters=True
        )
        self._number = 0

    def refuse(self, *events: bytes, loss: Loss | None = None) -> None:
        """Have a server refuse these, each in a request of its own."""
        default = Loss(1, "rejected", "api.example answered HTTP 400 invalid_event", 400)
        self._store.poll()  # which makes the file
        for data in events:
            self._store.append([data], self._number)
            self._number += 1
            assert len(self._store.claim(1)[0]) == 1
            assert self._store.ack(1, loss or default) == 1
        self._store.close()

    def get_waiting(self) -> list[bytes]:
        """Return what waits in the queue."""
        db = self._store._session
        return [
            data
            for (data,) in db.read(
                lambda db, _: db.execute("SELECT data FROM event ORDER BY position").fetchall()
            )
        ]


@pytest.fixture
def buffer(tmp_path: Path) -> Iterator[Buffer]:
    made = Buffer(tmp_path / "events.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHISPERR_BUFFER", made.url)
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield made
    time.tzset()


def get_ids(ended: Ended) -> list[str]:
    return [line.split()[0] for line in ended.out.splitlines()]


class TestList:
    def test_it_shows_when_what_and_why_newest_first_and_no_content(
        self, buffer: Buffer, call: Call
    ) -> None:
        buffer.refuse(make_event(1))
        buffer.now += 61
        buffer.refuse(identify(2), loss=Loss(1, "too_large", "answered HTTP 413", 413))
        ended = call("dead-letters", "list")
        newest, oldest = ended.out.splitlines()
        assert (ended.code, ended.err) == (0, "")
        assert newest.split(maxsplit=4) == [
            *("2", "2026-11-28", "12:01:01", "identify", "too_large 413: answered HTTP 413"),
        ]
        assert oldest.split(maxsplit=4)[3:] == [
            *("payment_failed", "rejected 400: api.example answered HTTP 400 invalid_event"),
        ]

    def test_times_are_in_the_zone_of_the_machine(
        self, buffer: Buffer, call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        buffer.refuse(make_event(1))
        monkeypatch.setenv("TZ", "UTC+5")
        time.tzset()  # the fixture sets it back
        assert "2026-11-28 07:00:00" in call("dead-letters", "list").out
        assert get_ids(call("dead-letters", "list", "--since", "2026-11-28T07:00")) == ["1"]
        assert get_ids(call("dead-letters", "list", "--before", "2026-11-28T12:00:01Z")) == ["1"]
        assert (
            "no dead letter matches" in call("dead-letters", "list", "--since", "2026-11-28T08").out
        )

    def test_none_is_said_in_a_sentence(self, buffer: Buffer, call: Call) -> None:
        buffer.refuse()
        code, out, _ = call("dead-letters", "list")
        assert (code, out[:15]) == (0, "no dead letters")
        assert "?dead_letters=true" in out
        url = f"{buffer.url}?dead_letters=true"
        assert call("dead-letters", "list", "--buffer", url).out == "no dead letters\n"
        buffer.refuse(make_event(1))
        ended = call("dead-letters", "list", "--user", "other")
        assert ended == (0, "no dead letter matches, of 1\n", "")

    def test_the_newest_20_are_shown_and_how_to_see_all(self, buffer: Buffer, call: Call) -> None:
        buffer.refuse(*(make_event(number) for number in range(23)))
        lines = call("dead-letters", "list").out.splitlines()
        assert (len(lines), lines[-1]) == (21, "3 more; --lines 23 shows all")
        assert len(call("dead-letters", "list", "--lines", "23").out.splitlines()) == 23

    def test_foreign_text_controls_no_terminal(self, buffer: Buffer, call: Call) -> None:
        buffer.refuse(make_event(1), loss=Loss(1, "rejected", "a\x1b[31m\nb", 400))
        assert call("dead-letters", "list").out.endswith("rejected 400: a\\x1b[31m\\nb\n")

    def test_json_is_one_object_without_content(self, buffer: Buffer, call: Call) -> None:
        buffer.refuse(make_event(1), make_event(2))
        found = json.loads(call("dead-letters", "list", "--json", "--lines", "1").out)
        (one,) = found.pop("dead_letters")
        assert found == {"total": 2, "matching": 2}
        assert one == {
            "id": "2",
            "kind": "event",
            "type": "payment_failed",
            "reason": "rejected",
            "status": 400,
            "refused_at": NOW,
            "message": "api.example answered HTTP 400 invalid_event",
        }


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ([], "54321"),
        (["--user", "user_2"], "2"),
        (["--type", "payment_*"], "421"),
        (["--type", "signed_up"], "3"),
        (["--kind", "identify"], "5"),
        (["--reason", "expired"], "4"),
        (["--reason", "too_large"], ""),
        (["--since", "2026-11-29"], "543"),
        (["--before", "2026-11-29"], "21"),
        (["--since", "2026-11-29", "--before", "2026-11-30"], "3"),
        (["amount>1"], "432"),
        (["amount>1", "-amount=3", "--type", "*"], "42"),
        (["user:user_1"], "1"),
        (["id:m4"], "4"),
        (["pro"], "4321"),
        (["--type", "payment_*", "user:user_2"], "2"),
        (["1", "3"], "31"),
    ],
)
def test_the_filters_are_those_of_tail(
    buffer: Buffer, call: Call, words: list[str], ids: str
) -> None:
    buffer.refuse(make_event(1), make_event(2))
    buffer.now += DAY
    buffer.refuse(make_event(3, "signed_up"))
    buffer.now += DAY
    buffer.refuse(make_event(4), loss=Loss(1, "expired", "too old"))
    buffer.refuse(identify(5))
    if "-amount=3" in words:
        words = [*words[2:], words[0], "--", words[1]]
    ended = call("dead-letters", "list", *words)
    assert ended.code == 0
    assert get_ids(ended) == (list(ids) or ["no"])


def test_a_time_may_be_an_age(buffer: Buffer, call: Call) -> None:
    buffer.now = time.time() - 3 * 3_600
    buffer.refuse(make_event(1))
    buffer.now = time.time()
    buffer.refuse(make_event(2))
    assert get_ids(call("dead-letters", "list", "--since", "2h")) == ["2"]
    assert get_ids(call("dead-letters", "list", "--since", "1d", "--before", "60m")) == ["1"]


class TestShow:
    def test_it_shows_the_content_as_json(self, buffer: Buffer, call: Call) -> None:
        buffer.refuse(make_event(1), make_event(2))
        ended = call("dead-letters", "show", "2")
        head, message, text = ended.out.split("\n", 2)
        assert head == "2  payment_failed  rejected, HTTP 400  2026-11-28 12:00:00"
        assert message == "api.example answered HTTP 400 invalid_event"
        assert json.loads(text) == json.loads(make_event(2))
        assert ended.out.isprintable() or "\x1b" not in ended.out
        assert "\u202e" not in ended.out

    def test_in_json_it_has_the_event(self, buffer: Buffer, call: Call) -> None:
        buffer.refuse(make_event(1), make_event(2))
        found = json.loads(call("dead-letters", "show", "--all", "--json").out)
        assert [one["event"] for one in found["dead_letters"]] == [
            json.loads(make_event(1)),
            json.loads(make_event(2)),
        ]

    def test_what_is_damaged_is_shown_as_that(self, buffer: Buffer, call: Call) -> None:
        buffer.refuse(make_event(1))
        buffer._store._session.read(
            lambda db, _: db.execute("UPDATE dead_letter SET data = X'ff', at = 'x', reason = 5")
        )
        assert "(not JSON)" in call("dead-letters", "show", "1").out
        assert "unreadable" in call("dead-letters", "list").out


class TestReplay:
    def test_the_same_bytes_wait_again_in_the_order_of_their_loss(
        self, buffer: Buffer, call: Call
    ) -> None:
        events = [make_event(number) for number in range(1, 4)]
        buffer.refuse(*events)
        ended = call("dead-letters", "replay", "--type", "payment_failed")
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.startswith("replayed 3 events, with the same ids: ")
        assert buffer.get_waiting() == events
        assert call("dead-letters", "replay", "--all").out == "no dead letter matches\n"

    def test_ids_choose_and_filters_as_well(self, buffer: Buffer, call: Call) -> None:
        buffer.refuse(make_event(1), make_event(2), make_event(3))
        assert call("dead-letters", "replay", "1", "3", "--user", "user_3").code == 0
        assert buffer.get_waiting() == [make_event(3)]

    def test_an_id_that_is_not_there_is_named_and_the_others_are_replayed(
        self, buffer: Buffer, call: Call
    ) -> None:
        buffer.refuse(make_event(1))
        code, out, err = call("dead-letters", "replay", "1", "7", "8")
        assert (code, out[:16]) == (1, "replayed 1 event")
        assert err == "whisperr dead-letters replay: no dead letter has the id 7, 8\n"
        assert buffer.get_waiting() == [make_event(1)]

    def test_more_than_the_queue_holds_is_left(self, buffer: Buffer, call: Call) -> None:
        buffer.refuse(make_event(1), make_event(2), make_event(3))
        code, out, err = call("dead-letters", "replay", "--all", "--max-queue-size", "2")
        assert (code, out[:17]) == (1, "replayed 2 events")
        assert "1 not replayed: the queue is full" in err
        assert buffer.get_waiting() == [make_event(1), make_event(2)]

    def test_what_is_too_old_by_now_is_said_to_be_refused_again(
        self, buffer: Buffer, call: Call
    ) -> None:
        buffer.refuse(make_event(1, day="2020-01-01"))
        out = call("dead-letters", "replay", "1").out
        assert "1 of them happened more than 30 days ago" in out

    def test_json_has_the_counts(self, buffer: Buffer, call: Call) -> None:
        buffer.refuse(make_event(1, day="2020-01-01"))
        code, out, _ = call("dead-letters", "replay", "1", "2", "--json")
        expected = {"replayed": 1, "left": 0, "too_old": 1, "missing": ["2"]}
        assert (code, json.loads(out)) == (1, expected)


class TestDrop:
    def test_it_deletes_and_says_how_many(self, buffer: Buffer, call: Call) -> None:
        buffer.refuse(make_event(1), make_event(2), make_event(3))
        assert call("dead-letters", "drop", "2") == (0, "deleted 1 dead letter\n", "")
        assert get_ids(call("dead-letters", "list")) == ["3", "1"]
        assert call("dead-letters", "drop", "--all").out == "deleted 2 dead letters\n"
        assert call("dead-letters", "drop", "--all").out == "no dead letter matches\n"
        assert buffer.get_waiting() == []

    def test_json_has_the_count(self, buffer: Buffer, call: Call) -> None:
        buffer.refuse(make_event(1))
        assert json.loads(call("dead-letters", "drop", "--all", "--json").out) == {
            "dropped": 1,
            "missing": [],
        }


class TestRefusals:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ([], "which action: list, show, replay or drop?"),
            (["lst"], "invalid choice: 'lst'"),
            (["replay"], "which dead letters? Name ids or filters, or use --all"),
            (["drop"], "which dead letters? Name ids or filters, or use --all"),
            (["show"], "which dead letters? Name ids or filters, or use --all"),
            (["drop", "1", "--all"], "use either ids or --all"),
            (["list", "--since", "soon"], "--since 'soon': must be a time, such as 2h"),
            (["list", "--before", "2026-13-01"], "--before '2026-13-01': must be a time"),
            (["list", "amount>"], "the filter 'amount>': amount> needs a value after it"),
            (["list", "colour:red"], "colour: is not a field"),
            (["list", "--reason", "no"], "invalid choice: 'no'"),
            (["list", "--lines", "-1"], "must be a whole number from 0"),
            (["list", "--lines", "1e3"], "must be a whole number from 0"),
            (
                ["list", "--bufer", "x"],
                "whisperr dead-letters list: error: unknown option --bufer",
            ),
            (["list", "--bufer", "x"], "did you mean --buffer?"),
            (["list", "--all"], "unknown option --all"),
            (["list", "--buffer", ""], "no buffer: use --buffer URL"),
            (["list", "--buffer", "events.db"], "buffer: must be a URL"),
            (["list", "--buffer", "sqlite:////e.db?x=1"], "unknown option 'x'"),
            (["list", "--buffer", "django"], "manage.py whisperr_outbox --dead"),
        ],
    )
    def test_a_wrong_call_ends_with_2_and_what_to_write(
        self, buffer: Buffer, call: Call, words: list[str], message: str
    ) -> None:
        code, _, err = call("dead-letters", *words)
        assert (code, len(err.splitlines())) in {(2, 1), (2, 2), (2, 3)}
        assert message in err

    def test_without_a_buffer_it_says_how_to_name_one(
        self, call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("WHISPERR_BUFFER", raising=False)
        code, _, err = call("dead-letters", "list")
        assert code == 2
        assert re.search(r"no buffer: use --buffer URL, or set WHISPERR_BUFFER", err)

    def test_a_missing_file_is_not_made(self, call: Call, tmp_path: Path) -> None:
        code, out, err = call("dead-letters", "list", "--buffer", f"sqlite:///{tmp_path}/no.db")
        assert (code, out) == (1, "")
        missing = tmp_path / "no.db"
        assert err == f"whisperr dead-letters list: {missing}: no such file or directory\n"
        assert list(tmp_path.iterdir()) == []

    def test_a_file_of_something_else_is_refused_and_left(self, call: Call, tmp_path: Path) -> None:
        path = tmp_path / "text"
        path.write_text("something else" * 100)
        path.chmod(0o600)
        code, _, err = call("dead-letters", "drop", "--all", "--buffer", f"sqlite:///{path}")
        assert code == 1
        assert "not a SQLite database" in err
        assert path.read_text() == "something else" * 100


def test_a_reader_that_goes_away_ends_it_quietly(buffer: Buffer) -> None:
    buffer.refuse(*(make_event(number) for number in range(300)))
    command = f"'{sys.executable}' -m whisperr dead-letters show --all | head -1"
    ended = subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "WHISPERR_BUFFER": buffer.url},
        check=False,
    )
    assert ended.stdout.startswith("1  payment_failed")
    assert (ended.returncode, ended.stderr) == (0, "")
