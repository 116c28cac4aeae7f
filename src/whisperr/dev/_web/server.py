"""The local ingestion server: listens in a thread, keeps what arrives, injects faults on demand."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from whisperr.dev._memory.arrivals import Arrivals
from whisperr.dev._memory.journal import Journal
from whisperr.dev.faults import FaultInjector

from .http import HttpServer

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from typing_extensions import Self

    from whisperr.dev._ingest.model import Arrival, ReceivedRequest
    from whisperr.dev.faults import Fault


class LocalServer:
    """An ingestion server on loopback that keeps what it receives.

    It is a context manager. Any thread may call any method.

    Example::

        with LocalServer() as server:
            client = Whisperr("wrk_test", base_url=server.url)
            client.track("user_1", "trial_started")
            client.flush()
            assert server.arrivals()[0].type == "trial_started"

    Args:
        port: Where to listen on 127.0.0.1; 0 chooses a free port.
        api_key: The only key that is accepted; None accepts any.
        faults: The faults to inject from the start.
        seed: The seed of the random numbers that decide which requests meet a fault.
        max_body_bytes: A larger request is answered 413 before its body is read.
        keep: How many arrivals are kept; all are counted. Fewer are kept when they take more than
            64 MiB, or more than 6.4 KiB each on average, whichever is more.
        store: A file that keeps what arrives over restarts; None keeps it in memory only.
        clock: Returns the wall clock in seconds since 1970, for the window of `occurred_at`.
        on_arrival: A function that is called with each arrival, in the thread of the connection.
        on_request: A function that is called with each request, in the thread of the connection.

    Raises:
        ValueError: The store cannot be used.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        api_key: str | None = None,
        faults: Iterable[Fault] = (),
        seed: int = 0,
        max_body_bytes: int = 1024 * 1024,
        keep: int = 10_000,
        store: str | os.PathLike[str] | None = None,
        clock: Callable[[], float] = time.time,
        on_arrival: Callable[[Arrival], object] | None = None,
        on_request: Callable[[ReceivedRequest], object] | None = None,
    ) -> None:
        self.api_key = api_key
        self.max_body_bytes = max_body_bytes
        self.now = clock
        self._port = port
        journal = None if store is None else Journal(store)
        self._memory = Arrivals(keep, journal, on_arrival, on_request)
        self._injector = FaultInjector(faults, seed, on_change=self._memory.wake)
        self._http: HttpServer | None = None

    def start(self) -> Self:
        """Listen, answer in threads of its own, and return the server.

        Raises:
            OSError: The port is taken.
            RuntimeError: The server was started before.
        """
        if self._http is not None:
            raise RuntimeError("this server was started before; create another one")
        self._http = HttpServer(self._port, self, self._memory, self._injector)
        return self

    def close(self) -> None:
        """Stop listening and end all connections. The arrivals can still be read."""
        if self._http is not None:
            self._http.close()
        self._memory.close_journal()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port that it listens on.

        Raises:
            RuntimeError: The server is not started.
        """
        if self._http is None:
            raise RuntimeError("the server is not started")
        return self._http.server_port

    @property
    def url(self) -> str:
        """The `base_url` for a client."""
        return f"http://127.0.0.1:{self.port}"

    # -- what arrived

    def arrivals(self, **filters: Any) -> list[Arrival]:  # noqa: ANN401  # those of Arrival.matches
        """Return the events and identifies that have arrived, oldest first.

        Args:
            filters: `kind`, `user`, `type`, `status`, `after` and `before` as in
                `Arrival.matches`, and `q`, the text of the filter box of the page.
        """
        return self._memory.arrivals(**filters)

    def requests(self, after: int = 0) -> list[ReceivedRequest]:
        """Return the requests, also refused ones and those that met a fault.

        Args:
            after: Only requests with a larger number are returned.
        """
        return self._memory.requests(after)

    def summary(self) -> dict[str, Any]:
        """Return the counts of everything that arrived."""
        return self._memory.summary()

    def wait(
        self,
        count: int = 1,
        *,
        timeout: float = 10.0,
        **filters: Any,  # noqa: ANN401  # likewise
    ) -> list[Arrival]:
        """Wait for arrivals that pass the filters, and return all that do.

        Args:
            count: How many arrivals to wait for.
            timeout: Seconds to wait at most.
            filters: As in `arrivals`.

        Raises:
            TimeoutError: The time is over; the text says what arrived instead.
        """
        if not self.wait_until(lambda: len(self.arrivals(**filters)) >= count, timeout):
            given = " ".join(f"{name}={value}" for name, value in filters.items()) or "any"
            raise TimeoutError(
                f"waited {timeout:g} s for {count} ({given}), {len(self.arrivals(**filters))} "
                f"arrived; in all: {self.summary()}"
            )
        return self.arrivals(**filters)

    def wait_requests(self, count: int, *, timeout: float = 10.0) -> list[ReceivedRequest]:
        """Wait for requests, whatever their answers, and return all.

        Args:
            count: How many requests to wait for.
            timeout: Seconds to wait at most.

        Raises:
            TimeoutError: The time is over; the text says what arrived instead.
        """
        if not self.wait_until(lambda: len(self.requests()) >= count, timeout):
            raise TimeoutError(
                f"waited {timeout:g} s for {count} requests; in all: {self.summary()}"
            )
        return self.requests()

    def wait_until(self, reached: Callable[[], bool], timeout: float) -> bool:
        """Wait until a condition is true, and return whether it became true in time.

        Args:
            reached: A function that returns the condition. It is called after each arrival.
            timeout: Seconds to wait at most.
        """
        return self._memory.wait_until(reached, timeout)

    # -- faults

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults that are on."""
        return self._injector.faults

    def set_faults(self, *faults: Fault) -> None:
        """Replace all `faults`; without arguments, inject none."""
        self._injector.set(faults)

    def reset(self) -> None:
        """Forget what has arrived, including message ids. The faults stay."""
        self._memory.reset()
