"""The event that is tracked: a realistic one, with a mark that says which it is.

The sink finds the mark in whatever a package makes of the event, so that lost and doubled events
are seen without knowing any package's format.
"""

from __future__ import annotations

USER = "user_8842"
NAME = "payment_failed"
MARK = b"mark([0-9]{8})"


def properties_of(number: int) -> dict[str, object]:
    """Return the six properties, one nested, of the event with this number."""
    return {
        "amount_cents": 4900,
        "currency": "EUR",
        "reason": "card_declined",
        "attempt": 2,
        "plan": {"name": "pro", "interval": "month", "seats": 12},
        "reference": f"mark{number:08d}",
    }
