"""The FastAPI integration: the tracker of a request as a dependency that type checkers see.

    from whisperr.fastapi import Tracker, WhisperrMiddleware

    app.add_middleware(WhisperrMiddleware, resolve_user=get_user)

    @app.post("/upgrade")
    async def upgrade(whisperr: Tracker) -> dict[str, str]:
        whisperr.track("plan_upgraded")

The middleware is the one of `whisperr.asgi`; the guide is docs/frameworks/asgi.md.
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
    """Return the tracker of a request or a websocket: the dependency behind `Tracker`.

    Raises RuntimeError without WhisperrMiddleware.
    """
    tracker = getattr(connection.state, "whisperr", None)
    if not isinstance(tracker, RequestTracker):
        raise RuntimeError(  # noqa: TRY004  # it is the middleware that is missing
            "the connection has no whisperr: app.add_middleware(WhisperrMiddleware)"
        )
    return tracker


Tracker = Annotated[RequestTracker, Depends(tracker_of)]
"""The parameter of a path operation that wants the tracker: `whisperr: Tracker`."""
