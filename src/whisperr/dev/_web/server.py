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
    """An ingestion server on loopback that keeps what it receives; a context manager.

        with LocalServer() as server:
            client = Whisperr("wrk_test", base_url=server.url)
            client.track("user_1", "trial_started")
            client.flush()
            assert server.arrivals()[0].type == "trial_started"

    - `port`: where to listen on 127.0.0.1; 0 chooses a free port.
    - `api_key`: the only key that is accepted; None accepts any.
    - `faults`, `seed`: the faults to inject from the start, and the seed of the rates; see `Fault`.
    - `max_body_bytes`: a larger request is answered 413 before its body is read.
    - `keep`: how many arrivals are kept; all of them are counted. Fewer are kept when they take
      more than 64 MiB, or more than 6.4 KiB each on average, whichever is more.
    - `store`: a file that keeps what arrives over restarts; None keeps it in memory only.
    - `clock`: returns the wall clock in seconds, for the window of `occurred_at`.
    - `on_arrival`, `on_request`: called in the connection's thread with each arrival and request.

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
        self._port = port
        journal = None if store is None else Journal(store)
        self._memory = Arrivals(keep, journal, on_arrival, on_request)
        self._injector = FaultInjector(faults, seed, on_change=self._memory.wake)
        self._http: HttpServer | None = None

    def start(self) -> Self:
        """Listen and answer in threads of its own; returns the server. Once per server."""
        if self._http is not None:
            raise RuntimeError("this server was started before; create another one")
        self._http = HttpServer(self._port, self, self._memory, self._injector)
        return self

    def close(self) -> None:
        """Stop listening and end all connections; the arrivals can still be read."""
        if self._http is not None:
            self._http.close()
        self._memory.close_journal()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
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

    # -- what arrived

    def arrivals(self, **filters: Any) -> list[Arrival]:  # noqa: ANN401  # those of Arrival.matches
        """Return events and identifies, oldest first; filters: kind, user, type, status, after, q.

        `q` is the text of the filter box of the page.
        """
        return self._memory.arrivals(**filters)

    def requests(self, after: int = 0) -> list[ReceivedRequest]:
        """Return the requests above a number, also refused ones and those that met a fault."""
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
        """Wait for `count` arrivals that pass the filters and return all that do.

        Raises TimeoutError after `timeout` seconds; its text says what arrived instead.
        """
        if not self.wait_until(lambda: len(self.arrivals(**filters)) >= count, timeout):
            given = " ".join(f"{name}={value}" for name, value in filters.items()) or "any"
            raise TimeoutError(
                f"waited {timeout:g} s for {count} ({given}), {len(self.arrivals(**filters))} "
                f"arrived; in all: {self.summary()}"
            )
        return self.arrivals(**filters)

    def wait_requests(self, count: int, *, timeout: float = 10.0) -> list[ReceivedRequest]:
        """Wait for `count` requests, whatever their answers; raises TimeoutError."""
        if not self.wait_until(lambda: len(self.requests()) >= count, timeout):
            raise TimeoutError(
                f"waited {timeout:g} s for {count} requests; in all: {self.summary()}"
            )
        return self.requests()

    def wait_until(self, reached: Callable[[], bool], timeout: float) -> bool:
        """Wait for `reached()`, called after each arrival; return whether it came true in time.

        `timeout` is in seconds.
        """
        return self._memory.wait_until(reached, timeout)

    # -- faults

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults that are on."""
        return self._injector.faults

    def set_faults(self, *faults: Fault) -> None:
        """Replace the faults; without arguments, inject none."""
        self._injector.set(faults)

    def reset(self) -> None:
        """Forget what arrived, also which message ids; the faults stay."""
        self._memory.reset()
