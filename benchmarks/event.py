"""Makes the tracked event: a realistic one, with a mark that identifies it.

The server finds the mark in any encoding of the event, so that it sees lost and duplicated events
without knowing the format of a package.
"""

from __future__ import annotations

USER = "user_8842"
NAME = "payment_failed"
MARK = b"mark([0-9]{8})"


def make_properties(number: int) -> dict[str, object]:
    """Return the six properties, one nested, of the event with this number.

    Each value is a separate object, as when it comes from a request or a database: a package
    that keeps the dictionary keeps the values too.
    """
    return {
        "amount_cents": 4900 + number,
        "currency": b"EUR".decode(),
        "reason": b"card_declined".decode(),
        "attempt": 2,
        "plan": {"name": b"pro".decode(), "interval": b"month".decode(), "seats": 12},
        "reference": f"mark{number:08d}",
    }
