"""`whisperr demo`: delivers a day of events through the public client, despite faults.

Only the customers are simulated. The client and HTTP are real, and the server injects faults. The
figures at the end are counted on both sides.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from random import Random
from threading import Thread
from typing import TYPE_CHECKING, Any

from whisperr import Whisperr
from whisperr._foreign import printable
from whisperr.billing import BillingEvent
from whisperr.dev import faults
from whisperr.dev._ingest.model import BATCH_PATH
from whisperr.dev._web.server import LocalServer

from .terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from whisperr import Stats, WhisperrError

_THREADS = 4
_INTERVAL = 0.02  # seconds between two calls of a thread, so that faults meet live traffic
_OUTAGE = 2.5  # seconds
_TIME_LIMIT = 50.0  # seconds
_DAY = timedelta(hours=23)
_FEATURES = ("report_exported", "teammate_invited", "dashboard_opened", "api_key_created")
_SOURCES = ("search", "referral", "newsletter", "ads")
_DECLINES = ("card_declined", "insufficient_funds", "expired_card")
_PLANS = {"starter": 19.0, "pro": 49.0, "scale": 199.0}


@dataclass(frozen=True)
class DayCall:
    """One call to make: `name` is the event type, None for an identify with `values` as traits."""

    user: str
    at: datetime
    name: str | None
    values: dict[str, Any]
    email: str | None = None


def make_day(users: int, seed: int, end: datetime) -> list[DayCall]:
    """Return the calls of a day that ends at `end`, in order of time.

    Each user signs up, tries the product, then subscribes, hesitates or leaves.
    """
    random = Random(seed)  # noqa: S311  # an invented day, to be repeated
    calls = []
    for number in range(users):
        user = f"user_{8000 + number}"
        at = end - _DAY * (0.2 + 0.8 * random.random())
        plan = random.choice(list(_PLANS))
        traits = {"plan": "trial", "country": random.choice(["DE", "FR", "US"])}
        calls.append(DayCall(user, at, None, traits, f"{user}@example.com"))
        for name, values in _make_events(plan, random):
            at += timedelta(seconds=random.randint(20, 1200))
            calls.append(DayCall(user, at, name, values))
    return sorted((call for call in calls if call.at <= end), key=lambda call: call.at)


def _make_events(plan: str, random: Random) -> Iterator[tuple[str | None, dict[str, Any]]]:
    price = {"plan_id": plan, "price": _PLANS[plan], "currency": "EUR"}
    yield "account_created", {"source": random.choice(_SOURCES)}
    yield BillingEvent.TRIAL_STARTED, {"plan_id": plan, "trial_length_days": 14}
    for _ in range(random.randint(2, 6)):
        yield random.choice(_FEATURES), {"duration_ms": random.randint(40, 4000)}
    outcome = random.random()
    if outcome < 0.35:  # noqa: PLR2004  # shares of an invented day, here and below
        yield BillingEvent.TRIAL_CONVERTED, {**price, "plan_period": "P1M"}
        yield None, {"plan": plan}
    elif outcome < 0.6:  # noqa: PLR2004
        yield from _fail_payment(price, random)
    elif outcome < 0.8:  # noqa: PLR2004
        yield "cancel_page_viewed", {"from": "settings"}
        yield BillingEvent.TRIAL_AUTO_RENEW_DISABLED, {"store_cancel_reason": "unsubscribe"}
    else:
        yield "usage_dropped", {"percent": random.randint(30, 90), "window_days": 7}


def _fail_payment(
    price: dict[str, Any], random: Random
) -> Iterator[tuple[str | None, dict[str, Any]]]:
    cents = round(price["price"] * 100)
    yield "payment_failed", {"amount_cents": cents, "reason": random.choice(_DECLINES)}
    yield BillingEvent.BILLING_ISSUE_STARTED, {"has_access": True, **price}
    if random.random() < 0.6:  # noqa: PLR2004
        yield BillingEvent.BILLING_RECOVERED, price
    else:
        yield "payment_failed", {"amount_cents": cents, "reason": random.choice(_DECLINES)}
        yield BillingEvent.MEMBERSHIP_ENDED, {"end_reason": "billing", **price}
        yield None, {"plan": "none"}


@dataclass(frozen=True)
class Tally:
    """The result of the demo: how many events are missing, duplicated or unknown at the server."""

    tracked: int
    identified: int
    missing: int
    duplicated: int
    foreign: int

    @property
    def is_perfect(self) -> bool:
        """Whether no event was lost, duplicated or made up."""
        return not (self.missing or self.duplicated or self.foreign)


class _Traffic:
    """Makes the calls of a day from several threads; each user belongs to one thread."""

    def __init__(self, client: Whisperr, calls: Sequence[DayCall]) -> None:
        self.ids: list[str] = []
        self.identified: list[tuple[str, str]] = []
        self.total = len(calls)
        self._client = client
        shares: list[list[DayCall]] = [[] for _ in range(_THREADS)]
        for call in calls:
            shares[sum(call.user.encode()) % _THREADS].append(call)
        self._threads = [Thread(target=self._run, args=(share,), daemon=True) for share in shares]
        for thread in self._threads:
            thread.start()

    @property
    def made(self) -> int:
        """How many calls were made: lengths of lists, since threads lose additions to a number."""
        return len(self.ids) + len(self.identified)

    def wait_for(self, share: float, deadline: float) -> None:
        """Wait until this share of the calls is made, or the deadline (monotonic, seconds)."""
        while self.made < share * self.total and time.monotonic() < deadline:
            time.sleep(_INTERVAL)

    def join(self, deadline: float) -> None:
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))

    def _run(self, share: Sequence[DayCall]) -> None:
        for call in share:
            if call.name is None:
                self._client.identify(call.user, traits=call.values, email=call.email)
                self.identified.append((call.user, str(call.values["plan"])))
            else:
                values, at = call.values, call.at
                message_id = self._client.track(call.user, call.name, values, occurred_at=at)
                if message_id is None:
                    raise RuntimeError(f"{call.name} was not accepted")
                self.ids.append(message_id)
            time.sleep(_INTERVAL)


def run(*, users: int, seed: int) -> int:
    """Run the day; return 0 if every event arrived exactly once, else 1."""
    terminal = Terminal(sys.stdout)
    logging.getLogger("whisperr").addHandler(logging.NullHandler())  # `report` shows it
    started = time.monotonic()
    calls = make_day(users, seed, datetime.now(timezone.utc))
    with LocalServer(keep=10 * len(calls), seed=seed) as server:

        def report(error: WhisperrError) -> None:
            terminal.line(f"  client: {error.type}: {error.message}")

        client = Whisperr("wrk_demo", base_url=server.url, flush_interval=0.5, on_error=report)
        terminal.line(f"{users} users, {len(calls)} calls, {_THREADS} threads, to {server.url}")
        traffic = _Traffic(client, calls)
        _inject_faults(server, traffic, terminal, started + _TIME_LIMIT)
        traffic.join(started + _TIME_LIMIT)
        client.flush(max(started + _TIME_LIMIT - time.monotonic(), 0.0))
        stats = client.stats()
        client.shutdown()
        tally = _tally(server, traffic)
        _print_timeline(server, calls, terminal)
        _print_figures(server, stats, tally, time.monotonic() - started, terminal)
    return 0 if tally.is_perfect and traffic.made >= traffic.total else 1


def _inject_faults(
    server: LocalServer, traffic: _Traffic, terminal: Terminal, deadline: float
) -> None:
    """Inject each fault at a fixed share of the day, and print what happens."""

    def report(text: str) -> None:
        counts = server.summary()
        terminal.line(f"  {traffic.made:>5} made {counts['accepted']:>6} arrived   {text}")

    def wait_for_answer(status: str) -> None:
        seen = server.summary()["answers"].get(status, 0)
        server.wait_until(
            lambda: server.summary()["answers"].get(status, 0) > seen,
            max(deadline - time.monotonic(), 0.0),
        )

    report("all is well")
    traffic.wait_for(0.2, deadline)
    server.set_faults(faults.status(503))
    report("the service is down: 503 for everything")
    time.sleep(_OUTAGE)
    server.set_faults()
    report("the service is back; the client retries after its backoff")
    wait_for_answer("202")
    traffic.wait_for(0.6, deadline)
    server.set_faults(faults.status(429, retry_after=1, times=1))
    wait_for_answer("429")
    report("rate limited: 429, Retry-After: 1")
    wait_for_answer("202")
    traffic.wait_for(0.8, deadline)
    server.set_faults(faults.lose_answer(rate=0.5, times=4, path=BATCH_PATH))
    report("four answers are lost after the service accepted the batch")
    traffic.wait_for(1.0, deadline)
    report("the day is over; flush() delivers the rest")


def _tally(server: LocalServer, traffic: _Traffic) -> Tally:
    """Compare what the client accepted with what the server received."""
    arrived = Counter(arrival.message_id for arrival in server.arrivals(status="accepted"))
    identified = {
        (arrival.user, arrival.body["traits"]["plan"])
        for arrival in server.arrivals(kind="identify", status="accepted")
    }
    del arrived[None]  # identifies have no id, and may arrive twice without harm
    made = set(traffic.ids)
    return Tally(
        tracked=len(traffic.ids),
        identified=len(traffic.identified),
        missing=len(made - set(arrived)) + len(set(traffic.identified) - identified),
        duplicated=sum(count - 1 for count in arrived.values()),
        foreign=len(set(arrived) - made) + server.summary()["refused"],
    )


def _print_timeline(server: LocalServer, calls: Sequence[DayCall], terminal: Terminal) -> None:
    """Print the day of one user as the service received it, preferably with a failed payment."""
    failed = (call.user for call in calls if call.name == "payment_failed")
    user = next(failed, calls[0].user)
    terminal.line(f"\nthe day of {user}, as the service received it")
    previous: datetime | None = None
    for arrival in server.arrivals(user=user, kind="event", status="accepted"):
        moment = datetime.strptime(arrival.body["occurred_at"], "%Y-%m-%dT%H:%M:%S.%f%z")
        gap = "" if previous is None else f"+{_to_text(moment - previous)}"
        previous = moment
        values = ", ".join(f"{k}={v}" for k, v in arrival.body["properties"].items())
        terminal.line(
            f"  {moment:%H:%M:%S} {gap:>12}  {arrival.type or '':<26} {printable(values)}"
        )


def _print_figures(
    server: LocalServer, stats: Stats, tally: Tally, took: float, terminal: Terminal
) -> None:
    counts = server.summary()
    answers = ", ".join(f"{count} x {name}" for name, count in sorted(counts["answers"].items()))
    dropped = sum(stats.dropped.values())
    for line in (
        "",
        f"sent        {tally.tracked} events and {tally.identified} identifies",
        f"requests    {stats.requests}, {stats.retries} of them retries ({answers})",
        f"duplicates  {counts['duplicates']} dropped by the server",
        f"client      {stats.delivered} delivered, {dropped} dropped, {stats.held} held",
        f"lost        {tally.missing}",
        f"doubled     {tally.duplicated}",
        f"took        {took:.1f} s",
    ):
        terminal.line(line)


def _to_text(gap: timedelta) -> str:
    minutes, seconds = divmod(int(gap.total_seconds()), 60)
    return f"{minutes} m {seconds:02} s" if minutes else f"{seconds} s"
