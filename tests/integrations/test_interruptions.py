"""What a signal handler raises into a resolver, a hook or a value reaches the caller of `track`."""

from __future__ import annotations

import asyncio
import signal
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any

import pytest

from tests.facilities import needs_own_signals
from whisperr import Whisperr
from whisperr._integrations.deferred import UNKNOWN, Pending, Unread, defer_event
from whisperr._integrations.tracker import DeferringTracker, UserTracker
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = needs_own_signals


class TimeLimit(Exception):
    """An exception that only the handler of a signal raises."""


@pytest.fixture
def interrupt() -> Iterator[Callable[..., str]]:
    """Return a function that is interrupted by a handler that raises TimeLimit."""

    def handle(number: int, frame: object) -> None:
        raise TimeLimit

    def work(*_: object) -> str:
        signal.raise_signal(signal.SIGUSR1)
        return "ada"

    before = signal.signal(signal.SIGUSR1, handle)
    yield work
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def client() -> Iterator[Whisperr]:
    with Whisperr("wrk_test", transport=MemoryTransport()) as made:
        yield made


CALLS: dict[str, Callable[[DeferringTracker], object]] = {
    "track": lambda tracker: tracker.track("report_failed"),
    "identify": lambda tracker: tracker.identify(traits={"plan": "pro"}),
    "user_id": lambda tracker: tracker.user_id,
    "atrack": lambda tracker: asyncio.run(_await(tracker.atrack("report_failed"))),
    "aidentify": lambda tracker: asyncio.run(_await(tracker.aidentify(traits={"plan": "pro"}))),
    "auser_id": lambda tracker: asyncio.run(_await(tracker.auser_id())),
}


async def _await(awaitable: Any) -> Any:
    return await awaitable


@pytest.mark.parametrize("call", CALLS)
def test_an_interrupted_resolver_interrupts_the_call(
    call: str, interrupt: Callable[..., str], client: Whisperr
) -> None:
    with pytest.raises(TimeLimit):
        CALLS[call](DeferringTracker(lambda: client, interrupt, Pending()))
    assert client.stats().not_accepted == {}
    assert client.stats().held == 0


def test_an_interrupted_reading_of_a_deferred_user_is_raised(
    interrupt: Callable[..., str], client: Whisperr
) -> None:
    async def read() -> str:
        return interrupt()

    pending = Pending()
    pending.add(defer_event(client, UNKNOWN, "report_failed"), Unread(read, None))
    with pytest.raises(TimeLimit):
        asyncio.run(pending.settle())
    assert client.stats().held == 0


def test_an_interrupted_value_interrupts_the_call_that_defers_it(
    interrupt: Callable[..., str], client: Whisperr
) -> None:
    class Zone(tzinfo):
        def utcoffset(self, moment: datetime | None) -> Any:
            return interrupt()

        dst = tzname = utcoffset

    with pytest.raises(TimeLimit):
        defer_event(
            client, UNKNOWN, "report_failed", occurred_at=datetime(2026, 1, 2, tzinfo=Zone())
        )
    assert client.stats().not_accepted == {}
    assert client.stats().held == 0


def test_the_failure_of_a_resolver_itself_is_still_reported(client: Whisperr) -> None:
    def resolve() -> str:
        raise LookupError("secret")

    assert UserTracker(lambda: client, resolve).track("report_failed") is None
    assert client.stats().not_accepted == {"invalid": 1}
