"""A FastAPI application that turns webhooks of Stripe into churn signals.

    whisperr dev                                    # in one terminal
    export WHISPERR_API_KEY=wrk_test WHISPERR_BASE_URL=http://127.0.0.1:8722
    export STRIPE_WEBHOOK_SECRET=whsec_...          # as `stripe listen` prints it
    uvicorn --app-dir examples stripe_fastapi:app   # in another one
    stripe listen --forward-to http://127.0.0.1:8000/webhooks/stripe
    stripe trigger customer.subscription.created --add subscription:metadata.external_user_id=ada

It keeps the states of subscriptions in a SQLite file, `states.db` unless STATES names another.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from typing import Annotated, Any

import stripe as stripe_sdk
from fastapi import Depends, FastAPI, Header, HTTPException, Request

from whisperr.billing import stripe
from whisperr.fastapi import Tracker, WhisperrMiddleware

SECRET = os.environ["STRIPE_WEBHOOK_SECRET"]
TABLE = "CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, state TEXT NOT NULL)"


async def get_body(request: Request) -> bytes:
    """Return the body as it came: the signature is about these bytes."""
    return await request.body()


app = FastAPI()
app.add_middleware(WhisperrMiddleware)


@app.post("/webhooks/stripe")
def stripe_webhook(
    body: Annotated[bytes, Depends(get_body)],
    whisperr: Tracker,
    stripe_signature: Annotated[str, Header()] = "",
) -> dict[str, Any]:
    """Track what a webhook means; Stripe shows the answer, with the reasons of what was skipped.

    It is no `async def`, because it waits for the database.
    """
    try:
        event = stripe_sdk.Webhook.construct_event(body, stripe_signature, SECRET)
    except (ValueError, stripe_sdk.SignatureVerificationError):
        raise HTTPException(400) from None
    path = os.environ.get("STATES", "states.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as states, states:
        states.execute("PRAGMA busy_timeout = 5000")
        states.execute("BEGIN IMMEDIATE")  # one webhook at a time reads and writes a state
        states.execute(TABLE)

        def load(key: str) -> dict[str, Any] | None:
            row = states.execute("SELECT state FROM state WHERE key = ?", [key]).fetchone()
            return json.loads(row[0]) if row else None

        signals = stripe.signals(event, previous=load)
        tracked = whisperr.client.track_signals(signals)
        if signals.state:
            row = [signals.state["key"], json.dumps(signals.state)]
            states.execute("REPLACE INTO state VALUES (?, ?)", row)
    return {"tracked": tracked, "skipped": [skipped.reason for skipped in signals.skipped]}
