"""The table of the outbox as a buffer, decision by decision; and the command around it."""

from __future__ import annotations

import logging
import os
import re
import signal
from datetime import timedelta
from io import StringIO
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db.models.functions import Now
from django.test import override_settings

from tests.django.rows import BreakableClaims, add, aged, events
from whisperr._process.exit import EXIT_TIMEOUT
from whisperr._queue.lease import LEASE
from whisperr.django.management.commands.whisperr_relay import Command
from whisperr.django.models import DeadLetter, OutboxEvent
from whisperr.django.outbox.buffer import alias_of
from whisperr.django.outbox.claims import Claims
from whisperr.django.outbox.relay import LONGEST_REST, RelayBuffer
from whisperr.errors import NotNow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.django.site import Site


class Time:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Listener:
    def __init__(self) -> None:
        self.heard: list[tuple[int, str]] = []

    def lost(self, events: Sequence[bytes], reason: str, message: str) -> None:
        self.heard.append((len(events), reason))

    def ended_elsewhere(self, outcome: str, count: int) -> None: ...

    def not_durable(self, message: str, count: int) -> None: ...


@pytest.fixture(autouse=True)
def _empty_tables() -> Iterator[None]:
    yield
    OutboxEvent.objects.all().delete()
    DeadLetter.objects.all().delete()


@pytest.fixture
def claims() -> BreakableClaims:
    return BreakableClaims()


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def relay(claims: BreakableClaims, clock: Time) -> RelayBuffer:
    return RelayBuffer(claims, batch=10, interval=1.0, lease=15.0, clock=clock)


def free() -> int:
    return OutboxEvent.objects.filter(token="", leased_until=None).count()


def letters() -> list[tuple[str, str, int | None]]:
    return list(DeadLetter.objects.order_by("pk").values_list("reason", "message", "status"))


class TestClaims:
    def test_two_relays_get_different_rows(self, relay: RelayBuffer) -> None:
        rows = events(4)
        add(rows)
        other = RelayBuffer(Claims("default"), batch=10, interval=1.0, lease=15.0)
        assert relay.claim(2) == rows[:2]
        assert other.claim(10) == []
        relay.release()
        assert other.claim(10) == []  # an empty table is looked into again after the interval
        other.poll()
        assert other.claim(10) == rows

    def test_a_lease_that_has_run_out_holds_nobody_off(self, relay: RelayBuffer) -> None:
        add(events(2))
        assert len(relay.claim(10)) == 2
        OutboxEvent.objects.update(leased_until=Now() - timedelta(seconds=1))
        other = Claims("default").claim(10, 15.0)[1]
        assert len(other) == 2
        assert relay.ack(2) == 0  # the token is another one
        assert OutboxEvent.objects.count() == 2

    def test_a_request_within_the_lease_asks_nobody(
        self, relay: RelayBuffer, claims: BreakableClaims
    ) -> None:
        add(events(1))
        relay.claim(10)
        assert relay.extend(10.0) is True
        assert "prolong" not in claims.calls

    def test_a_longer_wait_prolongs_it(self, relay: RelayBuffer) -> None:
        add(events(1))
        relay.claim(10)
        before = OutboxEvent.objects.get().leased_until
        assert relay.extend(60.0) is True
        after = OutboxEvent.objects.get().leased_until
        assert before is not None
        assert after is not None
        assert 45 < (after - before).total_seconds() < 60

    def test_who_lost_a_row_gives_up_all_of_them(self, relay: RelayBuffer) -> None:
        add(events(2))
        relay.claim(10)
        last = OutboxEvent.objects.latest("pk")
        OutboxEvent.objects.filter(pk=last.pk).update(token="another")
        assert relay.extend(60.0) is False
        assert relay.ack(2) == 0
        assert free() == 1
        assert OutboxEvent.objects.get(pk=last.pk).token == "another"

    def test_an_identify_goes_alone_and_costs_no_claim_of_its_own(
        self, relay: RelayBuffer, claims: BreakableClaims
    ) -> None:
        first, second = events(2)
        identify = b'{"external_user_id":"user_1"}'
        add([first, identify, second])
        for expected in (first, identify, second):
            assert relay.claim(10) == [expected]
            assert relay.ack(1) == 1
        assert claims.calls.count("claim") == 1
        assert relay.delivered == 3

    def test_the_database_is_named_by_the_call_then_the_setting_then_the_router(self) -> None:
        assert alias_of(None) == "default"
        with override_settings(WHISPERR_OUTBOX_DATABASE="events"):
            assert alias_of(None) == "events"
            assert alias_of("other") == "other"

    def test_a_row_can_be_added(self, relay: RelayBuffer, claims: BreakableClaims) -> None:
        (data,) = events(1)
        assert relay.put(data) == ()
        claims.broken = True
        assert relay.put(data) == (data,)
        assert OutboxEvent.objects.count() == 1


class TestEnds:
    def test_a_round_ends_when_nothing_free_is_left(self, relay: RelayBuffer) -> None:
        add(events(3))
        mark = relay.tail()
        relay.claim(10)
        assert len(relay) == 0
        assert relay.held_bytes > 0
        assert relay.settled(mark) is False
        relay.ack(3)
        assert relay.settled(mark) is True
        assert relay.poll() == 1.0
        assert len(relay) == 10

    def test_what_is_refused_is_a_dead_letter_with_the_reason(self, relay: RelayBuffer) -> None:
        add(events(1))
        created = OutboxEvent.objects.get().created_at
        relay.claim(10)
        relay.explain("HTTP 400 invalid_event", 400)
        assert relay.ack(1, 1, "rejected") == 1
        assert letters() == [("rejected", "HTTP 400 invalid_event", 400)]
        assert DeadLetter.objects.get().created_at == created
        assert (relay.delivered, relay.buried) == (0, {"rejected": 1})
        assert str(DeadLetter.objects.get()).startswith("payment_failed ")

    def test_a_dead_letter_is_made_only_of_what_is_held(self, relay: RelayBuffer) -> None:
        add(events(2))
        relay.claim(10)
        OutboxEvent.objects.filter(pk=OutboxEvent.objects.latest("pk").pk).update(token="another")
        assert relay.ack(2, 2, "rejected") == 1
        assert (DeadLetter.objects.count(), OutboxEvent.objects.count()) == (1, 1)

    def test_what_is_too_old_or_no_event_never_leaves(
        self, relay: RelayBuffer, caplog: pytest.LogCaptureFixture
    ) -> None:
        listener = Listener()
        relay.attach(listener)
        old, good = events(2)
        add([aged(old), b"nothing", good, b"[" * 100_000])
        assert relay.claim(10) == [good]
        assert listener.heard == [(1, "expired")]
        assert {reason for reason, _, _ in letters()} == {"expired", "invalid"}
        assert caplog.messages == ["dropped, invalid: the row is not an event of this package (2)"]
        assert str(OutboxEvent.objects.get()).startswith("payment_failed ")

    def test_a_stop_gives_back_what_is_not_under_way(self, relay: RelayBuffer) -> None:
        add(events(3))
        relay.claim(2)
        relay.stop()
        assert len(relay) == 0
        assert relay.settled(relay.tail()) is False
        assert relay.ack(1) == 1  # the answer to what was under way
        assert relay.extend(10.0) is False
        assert free() == 2
        assert relay.settled(relay.tail()) is True
        assert relay.claim(10) == ()
        assert relay.drain() == ()


class TestFailures:
    def test_a_database_that_fails_is_asked_again_later_and_later_and_told_once(
        self,
        relay: RelayBuffer,
        claims: BreakableClaims,
        clock: Time,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.WARNING)
        add(events(1))
        claims.broken = True
        rests = []
        for _ in range(8):
            with pytest.raises(NotNow) as raised:
                relay.claim(10)
            rests.append(raised.value.seconds)
            relay.poll()
        assert rests == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
        clock.now += 60
        with pytest.raises(NotNow):
            relay.claim(10)
        relay.poll()
        claims.broken = False
        assert len(relay.claim(10)) == 1
        line = "the outbox: OperationalError: it is away; trying again"
        assert caplog.messages == [line, line, "the outbox can be used again"]
        assert relay.problem is None

    def test_what_was_delivered_meanwhile_is_not_sent_again(
        self, relay: RelayBuffer, claims: BreakableClaims
    ) -> None:
        add(events(2))
        mark = relay.tail()
        relay.claim(10)
        claims.broken = True
        assert relay.ack(2) == 2
        assert relay.settled(mark) is False
        claims.broken = False
        assert relay.claim(10) == []
        assert OutboxEvent.objects.count() == 0
        assert relay.settled(mark) is True

    def test_the_lease_is_believed_as_long_as_it_lasts(
        self, relay: RelayBuffer, claims: BreakableClaims, clock: Time
    ) -> None:
        add(events(1))
        relay.claim(10)
        claims.broken = True
        assert relay.extend(60.0) is True
        clock.now += 16
        assert relay.extend(60.0) is False
        assert relay.drain() == ()

    def test_an_end_that_cannot_be_written_down_does_not_stop_the_end(
        self, relay: RelayBuffer, claims: BreakableClaims
    ) -> None:
        add(events(1))
        relay.claim(10)
        claims.broken = True
        relay.ack(1)
        assert relay.drain() == ()
        assert OutboxEvent.objects.count() == 1


def said(*options: str, command: Any = "whisperr_relay") -> list[str]:
    out = StringIO()
    call_command(command, *options, stdout=out, no_color=True)
    return out.getvalue().splitlines()


class TestCommand:
    def test_once_delivers_what_is_there(self, site: Site) -> None:
        add(events(5))
        before = signal.getsignal(signal.SIGTERM)
        assert said("--once", "--batch", "2", "--interval", "0.05") == [
            "relaying from database 'default', 2 events at most",
            "stopped: delivered 5, dead letters 0",
        ]
        assert signal.getsignal(signal.SIGTERM) is before
        assert len(site.server.arrivals(status="accepted")) == 5
        assert said("--once", "--verbosity", "0") == []

    def test_a_signal_ends_it_and_meanwhile_it_says_what_it_did(self, site: Site) -> None:
        class Talkative(Command):
            tell_every = 0.02

        add(events(5))

        def end() -> None:
            site.server.wait(5, timeout=60)
            while not any("delivered 5" in line for line in out.getvalue().splitlines()):
                site.server.wait_until(lambda: False, 0.02)
            os.kill(os.getpid(), signal.SIGTERM)

        out = StringIO()
        helper = Thread(target=end, daemon=True)
        helper.start()
        call_command(Talkative(), "--interval", "0.05", stdout=out, no_color=True)
        helper.join(60)
        assert "delivered 5, dead letters 0" in out.getvalue().splitlines()

    @pytest.mark.parametrize(
        ("options", "settings", "text"),
        [
            (["--batch", "0"], {}, "--batch 0: must be from 1 to 500"),
            (["--lease", "0.5"], {}, "--lease 0.5: must be from 1 to 3600"),
            (["--interval", "0"], {}, "--interval 0: must be from 0.01 to 3600"),
            (["--using", "nowhere"], {}, "there is no database 'nowhere' in DATABASES"),
            ([], {"WHISPERR_API_KEY": ""}, "WHISPERR_API_KEY: is empty"),
            ([], {"WHISPERR_DISABLED": True}, "WHISPERR_DISABLED = True: nothing is delivered"),
        ],
    )
    def test_it_says_what_is_wrong(
        self, site: Site, options: list[str], settings: dict[str, Any], text: str
    ) -> None:
        with override_settings(**settings), pytest.raises(CommandError) as raised:
            said("--once", *options)
        assert str(raised.value).startswith(text)

    def test_once_says_why_it_could_not_deliver(self, site: Site) -> None:
        from whisperr.dev import faults

        add(events(1))
        site.server.set_faults(faults.wrong_key())
        with pytest.raises(CommandError, match="not everything was delivered: HTTP 401"):
            said("--once")
        assert free() == 1
        assert [error.type for error in site.errors] == ["auth"]


def test_the_migration_is_that_of_the_models() -> None:
    with override_settings(WHISPERR_API_KEY="wrk_test"):
        call_command("makemigrations", "whisperr", "--check", "--dry-run", verbosity=0)


def test_the_table_of_its_options_has_the_defaults_of_the_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "durability.md").read_text("utf-8")
    rows = re.findall(r"^\| `(--[a-z]+)[^`]*` \| ?`?([0-9.]*)`? \|", page, re.MULTILINE)
    parser = Command().create_parser("manage.py", "whisperr_relay")
    given = vars(parser.parse_args([]))
    assert [name for name, _ in rows] == ["--once", "--batch", "--interval", "--lease", "--using"]
    for name, default in rows:
        assert f"{given[name[2:]] or ''}" == default
    assert f"after {LONGEST_REST:g} seconds at most" in page
    assert f"for {EXIT_TIMEOUT:g} seconds at most" in page
    assert f"`--lease SECONDS` | `{LEASE}`" in page
