"""An ASGI application without a framework; it does not speak lifespan, as Django does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.hosts.trials.apps.waiting import Whisperr

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

whisperr = Whisperr()


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    assert scope["type"] == "http"
    whisperr.track("user_8842", "payment_failed")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"thank you"})


# The page's lines stand here.
