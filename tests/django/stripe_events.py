"""Webhooks of Stripe for the site, signed as Stripe does it."""

from __future__ import annotations

import json
import time
from typing import Any

SECRET = "whsec_of_the_tests"


def make_event(kind: str, name: str = "evt_1", **fields: Any) -> dict[str, Any]:
    """Return an event of the last minute about the subscription of the user 8842."""
    now = int(time.time()) - 60
    subscription = {
        "id": "sub_1",
        "object": "subscription",
        "customer": "cus_1",
        "status": "trialing",
        "metadata": {"external_user_id": "8842"},
        "cancel_at": None,
        "cancel_at_period_end": False,
        "currency": "eur",
        "created": now,
        "start_date": now,
        "trial_start": now,
        "trial_end": now + 14 * 86400,
        "items": {"object": "list", "data": []},
        **fields,
    }
    return {
        "id": name,
        "object": "event",
        "account": None,
        "api_version": "2025-03-31.basil",
        "created": now,
        "livemode": True,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
        "data": {"object": subscription},
    }


def sign(body: str, secret: str = SECRET, seconds: int | None = None) -> str:
    """Return the header that Stripe sends along with a body."""
    import stripe

    header: str = stripe.WebhookSignature.generate_signature_header(body, secret, seconds)
    return header


def to_body(event: dict[str, Any]) -> str:
    return json.dumps(event)
