"""A billing provider of our own, whose webhooks mean something else with a state."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from whisperr.billing._collector import Collector, Source, UserFields
from whisperr.billing._history import History

if TYPE_CHECKING:
    from collections.abc import Callable

    from whisperr.billing import Signals

FIRST = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(days=2)
KEY = "shop:sub_1"


def make(name: str, minutes: int, **fields: Any) -> dict[str, Any]:
    """Return a webhook: its id, so many minutes after the first, and a user."""
    return {"id": name, "minutes": minutes, "status": "active", "user": "8842", **fields}


def signals(
    payload: dict[str, Any], *, previous: Any = None, user_of: Callable[[str], object] | None = None
) -> Signals:
    """Return that a trial starts, becomes paid, or, without a trial before, that it renews."""
    at = FIRST + timedelta(minutes=payload["minutes"])
    history = History(previous, payload.get("key", KEY), payload["id"], at)
    source = Source("shop", payload["id"], "paid", at, is_test=False)
    user = UserFields({"user": payload["user"]}, user_of, "cus_1")
    collector = Collector(source, history, user)
    if history.is_repeated:
        collector.skip(history.reason)
    elif payload["status"] == "trial":
        collector.add("trial_started", {})
    else:
        was_trial = history.get("status") == "trial"
        collector.add("trial_converted" if was_trial else "renewal_succeeded", {})
    return collector.finish(status=payload["status"])
