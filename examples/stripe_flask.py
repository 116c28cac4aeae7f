"""A Flask application that turns webhooks of Stripe into churn signals.

    whisperr dev                                    # in one terminal
    export WHISPERR_API_KEY=wrk_test WHISPERR_BASE_URL=http://127.0.0.1:8722
    export STRIPE_WEBHOOK_SECRET=whsec_...          # as `stripe listen` prints it
    flask --app examples/stripe_flask.py run        # in another one
    stripe listen --forward-to http://127.0.0.1:5000/webhooks/stripe
    stripe trigger customer.subscription.created --add subscription:metadata.external_user_id=ada

It keeps the states of subscriptions in memory: `stripe_fastapi.py` has a table.
"""

from __future__ import annotations

import os
from threading import Lock
from typing import Any

import stripe as stripe_sdk
from flask import Flask, abort, request

from whisperr.billing import State, stripe
from whisperr.flask import Whisperr, current

SECRET = os.environ["STRIPE_WEBHOOK_SECRET"]
USERS = {"cus_1": "user_8842"}  # a real application has a column of its users

app = Flask(__name__)
Whisperr(app, resolve_user=lambda: None)  # a webhook has no user who is logged in
states: dict[str, State] = {}
lock = Lock()  # a webhook reads the state that the one before it has stored


@app.post("/webhooks/stripe")
def stripe_webhook() -> dict[str, Any]:
    """Track what a webhook means. Stripe shows the answer, with the reasons of what was skipped."""
    signature = request.headers.get("Stripe-Signature", "")
    try:
        event = stripe_sdk.Webhook.construct_event(request.data, signature, SECRET)
    except (ValueError, stripe_sdk.SignatureVerificationError):
        abort(400)
    with lock:
        signals = stripe.signals(event, previous=states.get, user_of=USERS.get)
        tracked = current.client.track_signals(signals)
        if signals.state:
            states[signals.state["key"]] = signals.state
    return {"tracked": tracked, "skipped": [skipped.reason for skipped in signals.skipped]}
