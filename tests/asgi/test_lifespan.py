"""The ASGI wrapper: every way an application may speak lifespan, and delivery before the end."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from whisperr import Whisperr
from whisperr.asgi import flush_on_shutdown
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from collections.abc import Iterator

QUIET: dict[str, Any] = {"flush_at": 1_000_000, "flush_interval": 3600}


class Server:
    """What an ASGI server does in the lifespan protocol."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.questions = ["lifespan.startup", "lifespan.shutdown"]

    async def receive(self) -> dict[str, Any]:
        return {"type": self.questions.pop(0)}

    async def send(self, message: Any) -> None:
        self.sent.append(message["type"])

    def run(self, app: Any, kind: str = "lifespan") -> list[str]:
        asyncio.run(app({"type": kind}, self.receive, self.send))
        return self.sent


async def raises_at_once(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("Django can only handle ASGI/HTTP connections, not lifespan.")


async def receives_and_raises(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    assert scope["type"] == "http"


async def returns(scope: Any, receive: Any, send: Any) -> None:
    """Send no message."""


async def speaks(scope: Any, receive: Any, send: Any) -> None:
    for _ in range(2):
        message = await receive()
        await send({"type": f"{message['type']}.complete"})


async def starts_and_returns(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})


async def fails_to_start(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def fails_to_start_and_raises(scope: Any, receive: Any, send: Any) -> None:
    await fails_to_start(scope, receive, send)
    raise OSError("no database")


async def fails_to_end(scope: Any, receive: Any, send: Any) -> None:
    await starts_and_returns(scope, receive, send)
    await receive()
    await send({"type": "lifespan.shutdown.failed", "message": "no"})


async def dies_at_the_end(scope: Any, receive: Any, send: Any) -> None:
    await starts_and_returns(scope, receive, send)
    await receive()
    raise OSError("lost")


async def dies_in_between(scope: Any, receive: Any, send: Any) -> None:
    await starts_and_returns(scope, receive, send)
    raise OSError("lost")


BOTH = ["lifespan.startup.complete", "lifespan.shutdown.complete"]
CASES: list[tuple[Any, list[str], type[Exception] | None, bool]] = [
    (raises_at_once, BOTH, None, True),
    (receives_and_raises, BOTH, None, True),
    (returns, BOTH, None, True),
    (speaks, BOTH, None, True),
    (starts_and_returns, BOTH, None, True),
    (fails_to_start, ["lifespan.startup.failed"], None, False),
    (fails_to_start_and_raises, ["lifespan.startup.failed"], OSError, False),
    (fails_to_end, [BOTH[0], "lifespan.shutdown.failed"], None, True),
    (dies_at_the_end, [BOTH[0]], OSError, True),
    (dies_in_between, [BOTH[0]], OSError, False),
]


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started


@pytest.mark.parametrize(
    ("app", "sent", "raised", "flushed"), CASES, ids=[c[0].__name__ for c in CASES]
)
def test_an_application_is_answered_for_where_it_gives_no_answer(
    server: LocalServer,
    app: Any,
    sent: list[str],
    raised: type[Exception] | None,
    flushed: bool,
) -> None:
    with Whisperr("wrk_test", base_url=server.url, **QUIET) as client:
        client.track("u", "seat_added")
        lifespan = Server()
        wrapped = flush_on_shutdown(app, client)
        if raised is None:
            lifespan.run(wrapped)
        else:
            with pytest.raises(raised):
                lifespan.run(wrapped)
        assert lifespan.sent == sent
        assert len(server.arrivals()) == flushed


def test_delivery_ends_before_the_shutdown_is_confirmed(server: LocalServer) -> None:
    with Whisperr("wrk_test", base_url=server.url, **QUIET) as client:
        there: list[int] = []

        class Watching(Server):
            async def send(self, message: Any) -> None:
                there.append(len(server.arrivals()))

        client.track("u", "seat_added")
        Watching().run(flush_on_shutdown(speaks, client))
    assert there == [0, 1]


def test_every_client_of_the_process_is_flushed_when_none_is_named(server: LocalServer) -> None:
    with (
        Whisperr("wrk_test", base_url=server.url, **QUIET) as one,
        Whisperr("wrk_test", base_url=server.url, **QUIET) as other,
    ):
        one.track("u", "seat_added")
        other.track("u", "seat_removed")
        Server().run(flush_on_shutdown(raises_at_once))
        assert {a.type for a in server.arrivals()} == {"seat_added", "seat_removed"}
        assert one.ready  # flushed, not shut down


def test_a_callable_is_asked_for_the_client_at_the_end(server: LocalServer) -> None:
    with Whisperr("wrk_test", base_url=server.url, **QUIET) as client:
        client.track("u", "seat_added")
        Server().run(flush_on_shutdown(raises_at_once, lambda: client))
        assert len(server.arrivals()) == 1
    assert Server().run(flush_on_shutdown(raises_at_once, Whisperr(disabled=True))) == BOTH


def test_a_function_for_the_client_that_fails_does_not_stop_the_shutdown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def make_client() -> Whisperr:
        raise LookupError("secret")

    assert Server().run(flush_on_shutdown(speaks, make_client)) == BOTH
    (message,) = [record.getMessage() for record in caplog.records]
    assert "raised LookupError, so nothing is delivered at the end" in message


def test_no_server_holds_the_shutdown_up(server: LocalServer) -> None:
    server.set_faults(faults.hang())
    client = Whisperr("wrk_test", base_url=server.url, **QUIET)
    client.track("u", "seat_added")
    began = time.monotonic()
    assert Server().run(flush_on_shutdown(raises_at_once, client, timeout=0.2)) == BOTH
    assert time.monotonic() - began < 30
    assert client.stats().held == 1
    client.shutdown(0)


def test_requests_pass_through_untouched() -> None:
    seen: list[Any] = []

    async def app(*given: Any) -> None:
        seen.append(given)

    server = Server()
    scope = {"type": "http"}
    asyncio.run(flush_on_shutdown(app)(scope, server.receive, server.send))
    ((given_scope, receive, send),) = seen
    assert given_scope is scope
    assert (receive, send) == (server.receive, server.send)
