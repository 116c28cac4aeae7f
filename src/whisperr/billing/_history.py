"""What is known of a subscription before a webhook, and what is known after it.

Providers guarantee no order, and send a webhook again when an answer was late. So a state counts
as the time before a webhook only if it is not newer. A webhook that is the newest of a state is
decided again from what was known before it, and means the same as the first time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from ._fields import Fields, drop_none

if TYPE_CHECKING:
    from datetime import datetime

    from ._signals import State

Previous = Mapping[str, Any] | Callable[[str], Mapping[str, Any] | None] | None

_MAX_HANDLED = 32
_LASTING = ("user", "paid_by", "paid_from")  # once known, they do not change
_ABOUT_ITSELF = ("key", "at", "event", "before", "handled")


class History:
    """The state before one webhook of a subscription.

    Attributes:
        known: Whether there is a state that is not newer than the webhook.
        reason: Why nothing is known, for `Skipped.reason`.
        is_repeated: Whether the webhook is in the state, and newer ones as well: it means nothing
            any more.
    """

    __slots__ = (
        *("_at", "_before", "_event", "_is_late", "_key", "_stored"),
        *("is_repeated", "known", "reason"),
    )

    def __init__(self, previous: Previous, key: str | None, event: str, at: datetime) -> None:
        self._key, self._event, self._at = key, event, at
        self._stored = _read_stored(previous, key)
        self._before: Mapping[str, Any] = {}
        self.is_repeated = False
        self.reason = "there is no previous state"
        stored = Fields(self._stored)
        newest = stored.time("at")
        self._is_late = newest is not None and newest > at
        if stored.text("event") == event:
            self._before = stored.object("before").to_dict()
        elif event in self._get_handled():
            self.is_repeated = True
            self.reason = "a newer webhook of this subscription was handled since"
        elif self._is_late:
            self.reason = "a newer webhook of this subscription came before it"
        else:
            self._before = self._get_facts()
        self.known = bool(self._before)

    @property
    def key(self) -> str | None:
        """The key of the state; None if the webhook belongs to no subscription."""
        return self._key

    def get(self, name: str) -> Any:  # noqa: ANN401  # JSON
        """Return what was known before the webhook, such as `status`; None if nothing was."""
        return self._before.get(name)

    def get_lasting(self, name: str) -> Any:  # noqa: ANN401  # JSON
        """Return a fact that never changes, also of a newer state; None if it is not known."""
        return self._stored.get(name)

    @property
    def paid_from(self) -> datetime | None:
        """When the subscription was billed first, also by a newer state: it never changes."""
        return Fields(self._stored).time("paid_from")

    @property
    def user(self) -> str | None:
        """The user of the subscription, also of a newer state: it does not depend on the time."""
        return Fields(self._stored).text("user") or Fields(self._before).text("user")

    def inherit(self, other: History) -> None:
        """Take what is known of the subscription that this one replaces, unless it has a state."""
        if not self._stored and not self.known and other.known:
            self._before = other._before
            self.known = True

    def advance(self, **changes: object) -> State | None:
        """Return the state after the webhook. A change to None removes what was known."""
        if self._key is None:
            return None
        handled = [one for one in self._get_handled() if one != self._event]
        handled = [*handled, self._event][-_MAX_HANDLED:]
        if self.is_repeated or self._is_late:
            learnt = {name: changes.get(name) for name in _LASTING}
            late = {**learnt, **self._stored, "handled": handled}
            return cast("State", drop_none(late))
        # The newest webhook that comes again keeps what late ones have said since.
        lasting = {name: self._stored.get(name) for name in _LASTING}
        facts = drop_none({**lasting, **self._before, **changes})
        about = {
            "key": self._key,
            "at": self._at.isoformat(),  # with all digits: two webhooks may share a millisecond
            "event": self._event,
            "before": dict(self._before),
            "handled": handled,
        }
        return cast("State", {**facts, **about})

    def learn(self, **facts: object) -> State | None:
        """Return the stored state with facts that do not depend on the time, which stays.

        None if there is nothing to store.
        """
        known = drop_none({**self._stored, **facts})
        return cast("State", {**known, "key": self._key}) if known and self._key else None

    def _get_handled(self) -> list[Any]:
        found = self._stored.get("handled")
        return found if isinstance(found, list) else []

    def _get_facts(self) -> dict[str, Any]:
        return {name: one for name, one in self._stored.items() if name not in _ABOUT_ITSELF}


def _read_stored(previous: Previous, key: str | None) -> Mapping[str, Any]:
    """Return the stored state of a subscription; an empty one if there is none of this key.

    Raises TypeError for what is no state: a caller who passes all states, or JSON, would otherwise
    never find out that none is used.
    """
    if previous is None or key is None:
        return {}
    found = previous(key) if callable(previous) else previous
    if not found and (found is None or isinstance(found, Mapping)):
        return {}
    if not isinstance(found, Mapping) or "key" not in found:
        kind = "dict without a key" if isinstance(found, Mapping) else type(found).__name__
        raise TypeError(
            f"previous: got a {kind}; pass the state of one subscription as a dict, or a function "
            "that returns it for a key, such as states.get"
        )
    return found if found["key"] == key else {}
