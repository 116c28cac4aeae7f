"""The local ingestion server: starts in a thread, judges what arrives, plays faults on demand."""

from __future__ import annotations

import time
from threading import Thread
from typing import TYPE_CHECKING, Any

from whisperr.dev._memory.arrivals import Arrivals
from whisperr.dev._memory.journal import Store
from whisperr.dev.faults import Rehearsal

from .http import HttpServer

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from typing_extensions import Self

    from whisperr.dev._memory.arrivals import Arrival, ReceivedRequest
    from whisperr.dev._memory.cursor import News, Place
    from whisperr.dev.faults import Fault


class LocalServer:
    """An ingestion server on loopback that keeps what it gets; a context manager.

        with LocalServer() as server:
            client = Whisperr("wrk_test", base_url=server.url)
            client.track("user_1", "trial_started")
            client.flush()
            assert server.arrivals()[0].type == "trial_started"

    - `port`: where to listen on 127.0.0.1; 0 takes a free one.
    - `api_key`: the only key that is accepted; None accepts any.
    - `faults`, `seed`: what to rehearse from the start, and the seed of the rates; see `Fault`.
    - `max_body_bytes`: a larger request is answered 413 before its body is read.
    - `keep`: how many arrivals are kept; counts go on.
    - `store`: a file that keeps what arrives over restarts; None keeps it in memory only.
    - `clock`: returns the wall clock in seconds, for the window of `occurred_at`.
    - `on_arrival`, `on_request`: called in the connection's thread with what came.

    Any thread may call any method. Raises OSError from `start` when the port is taken, ValueError
    at construction when the store cannot be used.
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
        self._asked_port = port
        self._arrivals = Arrivals(keep, None if store is None else Store(store))
        self._rehearsal = Rehearsal(faults, seed)
        self._on_arrival = on_arrival
        self._on_request = on_request
        self._http: HttpServer | None = None
        self._thread: Thread | None = None

    def start(self) -> Self:
        """Listen and answer in a thread of its own; returns the server. Once per server."""
        if self._http is not None:
            raise RuntimeError("this server was started before; make another one")
        self._http = HttpServer(self, self._asked_port)
        self._thread = Thread(
            target=self._http.serve_forever,
            kwargs={"poll_interval": 0.02},
            name="whisperr-dev",
            daemon=True,
        )
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop listening and end all connections; what arrived can still be asked for."""
        if self._http is not None and self._thread is not None and self._thread.is_alive():
            self._http.ending.set()
            self._arrivals.end_waits()
            self._http.end()
            self._thread.join()
        self._arrivals.close_store()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._http is None:
            raise RuntimeError("the server is not started")
        return self._http.server_port

    @property
    def url(self) -> str:
        """The `base_url` for a client."""
        return f"http://127.0.0.1:{self.port}"

    # -- what came

    def arrivals(self, **filters: Any) -> list[Arrival]:  # noqa: ANN401  # those of Arrival.matches
        """Return events and identifies, oldest first; filters: kind, user, type, status, after, q.

        `q` is what one types into the filter box of the page.
        """
        return self._arrivals.arrivals(**filters)

    def requests(self, after: int = 0) -> list[ReceivedRequest]:
        """Return the requests with a number above `after`, also those that met a fault."""
        return self._arrivals.requests(after)

    def summary(self) -> dict[str, Any]:
        """Return the counts of everything that came."""
        return self._arrivals.summary()

    def wait(
        self,
        count: int = 1,
        *,
        timeout: float = 10.0,
        **filters: Any,  # noqa: ANN401  # likewise
    ) -> list[Arrival]:
        """Wait for `count` arrivals that pass the filters and return all that do.

        Raises TimeoutError after `timeout` seconds; it says what came instead.
        """
        if not self.wait_until(lambda: len(self.arrivals(**filters)) >= count, timeout):
            asked = " ".join(f"{name}={value}" for name, value in filters.items()) or "any"
            raise TimeoutError(
                f"waited {timeout:g} s for {count} ({asked}), {len(self.arrivals(**filters))} "
                f"came; in all: {self.summary()}"
            )
        return self.arrivals(**filters)

    def wait_requests(self, count: int, *, timeout: float = 10.0) -> list[ReceivedRequest]:
        """Wait for `count` requests, whatever became of them; raises TimeoutError."""
        if not self.wait_until(lambda: len(self.requests()) >= count, timeout):
            raise TimeoutError(
                f"waited {timeout:g} s for {count} requests; in all: {self.summary()}"
            )
        return self.requests()

    def wait_until(self, reached: Callable[[], bool], timeout: float) -> bool:
        """Wait until `reached()`, asked after each arrival, for `timeout` seconds at most."""
        return self._arrivals.wait_until(reached, timeout)

    # -- what to play

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults that are on."""
        return self._rehearsal.faults

    def set_faults(self, *faults: Fault) -> None:
        """Replace the faults; without arguments: behave."""
        self._rehearsal.set(faults)
        self._arrivals.wake()

    def reset(self) -> None:
        """Forget what came, also which ids; the faults stay."""
        self._arrivals.reset()

    # -- for the connections

    def pick_faults(self, path: str) -> list[Fault]:
        """Return the faults that meet the next request to `path`."""
        return self._rehearsal.pick(path)

    def next_number(self) -> int:
        """Return the number of the next request."""
        return self._arrivals.next_number()

    def keep(self, request: ReceivedRequest, arrivals: Iterable[Arrival] = ()) -> None:
        """Keep a request and what it brought, and tell who listens."""
        taken = self._arrivals.keep(request, arrivals)
        if self._on_request is not None:
            self._on_request(request)
        if self._on_arrival is not None:
            for arrival in taken:
                self._on_arrival(arrival)

    def news(self, place: Place | None, limit: int) -> News:
        """Return what came after a place; from the start of the memory if None."""
        return self._arrivals.news(place, limit)

    def place(self) -> Place:
        """Return the place behind everything that came."""
        return self._arrivals.place()

    def request(self, number: int) -> ReceivedRequest | None:
        """Return one request, if it is still kept."""
        return self._arrivals.request(number)
