"""Provides doubles of the transport and the clock of a client."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from whisperr._contract import Answer, Request

Reply = Answer | BaseException | Callable[[Request], Any]
"""What a `MemoryTransport` does with a request: return, raise, or call a function that decides."""

_TIMEOUT = 10.0  # seconds; far more than a test takes, reached only when something hangs


class FakeClock:
    """A clock that only `advance` moves.

    Call it for monotonic seconds, and `wall` for the date.

    Example::

        clock = FakeClock()
        clock.advance(3600)
        LocalServer(clock=clock.wall)

    Args:
        start: The first reading, in seconds.
        wall_start: The wall clock at that moment, in seconds since 1970.

    Attributes:
        start (float): The first reading, in seconds.
        now (float): The current reading, in seconds.
    """

    def __init__(self, start: float = 1_000.0, wall_start: float = 1_781_000_000.0) -> None:
        self.start: float = start
        self.now: float = start
        self._wall_start = wall_start

    def __call__(self) -> float:
        """Return the monotonic time in seconds."""
        return self.now

    def wall(self) -> float:
        """Return the wall clock in seconds since 1970."""
        return self._wall_start + self.now - self.start

    def advance(self, seconds: float) -> None:
        """Move the clock forward by `seconds`."""
        self.now += seconds


class SentRequest:
    """One request as a `MemoryTransport` received it.

    Attributes:
        at (float): When it was sent, by the clock of the transport, in seconds.
        request (Request): The request.
        path (str): Its path.
        body (bytes): Its body.
        timeout (float): Seconds that the client allowed for it.
        thread (threading.Thread): The thread that sent it.
    """

    def __init__(self, at: float, request: Request, timeout: float) -> None:
        self.at: float = at
        self.request: Request = request
        self.path: str = request.path
        self.body: bytes = request.body
        self.timeout: float = timeout
        self.thread: threading.Thread = threading.current_thread()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of the request, or its one identify, decoded."""
        body: dict[str, Any] = json.loads(self.body)
        listed: list[dict[str, Any]] = body.get("events", [body])
        return listed


class MemoryTransport:
    """A transport without a network: it keeps requests and returns the replies that it was given.

    Any thread may call any method.

    Example::

        transport = MemoryTransport(Answer(503), Answer(202))
        client = Whisperr("wrk_test", transport=transport)

    Args:
        replies: One for each request. An `Answer` is returned, an exception is raised, and a
            function is called with the request and returns one of the two.
        otherwise: The reply when none is left; None answers 202.
        held: Whether requests wait until `let_go` is called, for 10 seconds at most.
        clock: Returns the time of a request, in seconds.

    Attributes:
        replies (list[Reply]): The replies that are left.
        otherwise (Reply): The reply when none is left.
        sent (list[SentRequest]): All requests.
        taken (list[SentRequest]): The requests that were answered with success.
        closes (list[float]): The times of the calls of `close`.
    """

    def __init__(
        self,
        *replies: Reply,
        otherwise: Reply | None = None,
        held: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.replies: list[Reply] = list(replies)
        self.otherwise: Reply = Answer(202) if otherwise is None else otherwise
        self.sent: list[SentRequest] = []
        self.taken: list[SentRequest] = []
        self.closes: list[float] = []
        self._clock = clock
        self._began = threading.Semaphore(0)
        self._free = threading.Event()
        if not held:
            self._free.set()

    def send(self, request: Request, timeout: float) -> Answer:
        """Keep the request and return or raise its reply.

        Args:
            request: The request of the client.
            timeout: Seconds that the client allows; kept in the `SentRequest`.

        Raises:
            TimeoutError: The request was held, and nothing called `let_go` within 10 seconds.
        """
        sent = SentRequest(self._clock(), request, timeout)
        self.sent.append(sent)
        self._began.release()
        if not self._free.wait(_TIMEOUT):
            raise TimeoutError("let_go() was not called")
        answer = self._reply(self.replies.pop(0) if self.replies else self.otherwise, request)
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, Answer) and answer.status // 100 == 2:  # noqa: PLR2004  # 2xx
            self.taken.append(sent)
        return answer  # type: ignore[no-any-return]  # tests return wrong types

    def _reply(self, chosen: Reply, request: Request) -> Any:  # noqa: ANN401  # tests return wrong types
        """Return the answer of a reply, or the exception to raise in its place."""
        return chosen(request) if callable(chosen) else chosen

    def close(self) -> None:
        """Keep the time of the call."""
        self.closes.append(self._clock())

    def let_go(self) -> None:
        """Answer the held request, and do not hold later ones."""
        self._free.set()

    def await_request(self, timeout: float = _TIMEOUT) -> None:
        """Wait until one more request was sent.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            TimeoutError: No request was sent in time.
        """
        if not self._began.acquire(timeout=timeout):
            raise TimeoutError(f"no request was sent within {timeout:g} s")
