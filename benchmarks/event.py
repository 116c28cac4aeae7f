"""The event that is tracked: a realistic one, with a mark that says which it is.

The sink finds the mark in whatever a package makes of the event, so that lost and doubled events
are seen without knowing any package's format.
"""

from __future__ import annotations

USER = "user_8842"
NAME = "payment_failed"
MARK = b"mark([0-9]{8})"


def properties_of(number: int) -> dict[str, object]:
    """Return the six properties, one nested, of the event with this number.

    Each value is an object of its own, as when it comes from a request or a database: who holds
    on to the dictionary holds on to them too.
    """
    return {
        "amount_cents": 4900 + number,
        "currency": b"EUR".decode(),
        "reason": b"card_declined".decode(),
        "attempt": 2,
        "plan": {"name": b"pro".decode(), "interval": b"month".decode(), "seats": 12},
        "reference": f"mark{number:08d}",
    }
