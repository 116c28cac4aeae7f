"""The FastAPI integration: the tracker of a request as a typed dependency.

Example::

    from whisperr.fastapi import Tracker, WhisperrMiddleware

    app.add_middleware(WhisperrMiddleware, resolve_user=get_user)

    @app.post("/upgrade")
    async def upgrade(whisperr: Tracker) -> None:
        whisperr.track("plan_upgraded")

`WhisperrMiddleware` and `flush_on_shutdown` are those of `whisperr.asgi`.

.. versionadded:: 1.0
"""

from __future__ import annotations

try:
    from fastapi import Depends
    from fastapi.requests import HTTPConnection  # noqa: TC002  # FastAPI reads annotations
except ModuleNotFoundError as _missing:
    if _missing.name != "fastapi":
        raise
    raise ImportError(
        "whisperr.fastapi needs FastAPI: pip install 'whisperr[fastapi]'"
    ) from _missing

from typing import Annotated

from .asgi import RequestTracker, WhisperrMiddleware, flush_on_shutdown

__all__ = ["RequestTracker", "Tracker", "WhisperrMiddleware", "flush_on_shutdown", "tracker_of"]


async def tracker_of(connection: HTTPConnection) -> RequestTracker:
    """Return the tracker of a request or websocket; the dependency behind `Tracker`.

    Args:
        connection: The request or websocket, which FastAPI passes.

    Returns:
        The tracker that `WhisperrMiddleware` has put into `connection.state`.

    Raises:
        RuntimeError: The application has no `WhisperrMiddleware`.
    """
    tracker = getattr(connection.state, "whisperr", None)
    if not isinstance(tracker, RequestTracker):
        raise RuntimeError(  # noqa: TRY004  # it is the middleware that is missing
            "this request has no tracker: call app.add_middleware(WhisperrMiddleware)"
        )
    return tracker


Tracker = Annotated[RequestTracker, Depends(tracker_of)]
"""The type of a parameter that receives the tracker of the request: `whisperr: Tracker`."""
