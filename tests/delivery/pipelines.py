"""For tests with real threads: makes pipelines, clients and calls in other threads; ends them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from tests.delivery.rig import event
from whisperr import Whisperr
from whisperr._delivery.pipeline import Pipeline
from whisperr._options import OPTIONS, Config
from whisperr._secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from whisperr._delivery.thread import DeliveryThread
    from whisperr.errors import WhisperrError
    from whisperr.testing import MemoryTransport

# Seconds; reached only if something hangs.
LIMIT = 10.0
KEY = "wrk_secret_1234"


def get_batches(transport: MemoryTransport) -> list[list[Any]]:
    """Return `n` or `number` of the events of each request."""
    return [[get_number(one) for one in sent.events] for sent in transport.sent]


def get_number(one: dict[str, Any]) -> Any:
    members = one.get("properties") or one.get("traits") or one
    return members.get("n", members.get("number"))


def await_end(delivery: DeliveryThread) -> None:
    """Wait until the delivery threads do not serve a client any more that has ended."""
    end = time.monotonic() + LIMIT
    assert delivery.wait_until(lambda: not delivery.started, lambda: False, end)


class Pipelines:
    """Make pipelines that deliver when asked and never retry, and end them all."""

    def __init__(self) -> None:
        self._made: list[tuple[Pipeline, MemoryTransport]] = []

    def __call__(self, transport: MemoryTransport, **options: Any) -> Pipeline:
        settings: dict[str, Any] = {option.name: option.default for option in OPTIONS} | {
            "api_key": Secret(KEY),
            "flush_at": 1_000,
            "flush_interval": 3_600.0,
            "max_retries": 0,
            "transport": transport,
        }
        one = Pipeline(Config(settings | options))
        self._made.append((one, transport))
        return one

    def end(self) -> None:
        """Unblock the transports and wait for the threads."""
        for one, transport in self._made:
            transport.let_go()
            shut(one, timeout=0.0)
            await_end(one.thread)


class Clients:
    """Make clients that deliver when asked and never retry, and end them all."""

    def __init__(self, transport: MemoryTransport) -> None:
        self._transport = transport
        self._made: list[Whisperr] = []

    def __call__(self, **options: Any) -> Whisperr:
        settings: dict[str, Any] = {
            "flush_interval": 3_600.0,
            "max_retries": 0,
            "transport": self._transport,
        }
        self._made.append(Whisperr(KEY, **(settings | options)))
        return self._made[-1]

    def end(self) -> None:
        self._transport.let_go()
        for one in self._made:
            one.shutdown(LIMIT)


def track(one: Pipeline, *numbers: int) -> None:
    for number in numbers:
        one.put(event(number))


def shut(one: Pipeline, timeout: float = LIMIT) -> bool:
    deadline = time.monotonic() + timeout
    one.begin_shutdown(deadline)
    return one.finish_shutdown(deadline)


class Errors:
    """An `on_error` that remembers, and that can be waited for."""

    def __init__(self, then: Callable[[WhisperrError], object] = lambda _: None) -> None:
        self.seen: list[WhisperrError] = []
        self.reported = threading.Event()
        self._then = then

    def __call__(self, error: WhisperrError) -> None:
        self.seen.append(error)
        try:
            self._then(error)
        finally:
            self.reported.set()


class Calls:
    """Run a function in several threads at once and collect what it returns."""

    def __init__(self, function: Callable[[], Any], times: int = 1) -> None:
        self.results: list[Any] = []
        self._barrier = threading.Barrier(times)
        self._function = function
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(times)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        self._barrier.wait(LIMIT)
        self.results.append(self._function())

    def join(self) -> list[Any]:
        """Wait for all of them."""
        deadline = time.monotonic() + LIMIT
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        assert not any(thread.is_alive() for thread in self._threads), "a call does not return"
        return self.results
