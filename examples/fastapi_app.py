"""A FastAPI application that tracks for the user of the request.

    whisperr dev                                    # in one terminal
    export WHISPERR_API_KEY=wrk_test WHISPERR_BASE_URL=http://127.0.0.1:8722
    uvicorn --app-dir examples fastapi_app:app      # in another one
    curl -X POST -H 'X-User: user_8842' http://127.0.0.1:8000/subscription/cancel

Press Ctrl-C in the second terminal: queued events are delivered before uvicorn ends.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.requests import HTTPConnection

from whisperr.fastapi import Tracker, WhisperrMiddleware


def get_user(scope: dict[str, Any]) -> str | None:
    """Return the user's id; a real application verifies a session or a token here."""
    return HTTPConnection(scope).headers.get("x-user")


app = FastAPI()
app.add_middleware(WhisperrMiddleware, resolve_user=get_user)


@app.post("/subscription/cancel")
async def cancel(whisperr: Tracker) -> dict[str, str | None]:
    """Cancel a subscription."""
    return {"message_id": whisperr.track("subscription_cancelled", {"plan": "pro"})}
