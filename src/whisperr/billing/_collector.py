"""Collects what one webhook means: its signals, what was skipped, and the state after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from ._fields import drop_none
from ._signals import Signal, Signals, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from ._history import History

# Begins the reason of a signal without a user; the import finds such reasons by it.
NO_USER = "no user in"


class Source(NamedTuple):
    """A webhook: whose it is, its id and type, when it happened, and whether it is a test."""

    provider: str
    id: str
    type: str
    at: datetime
    is_test: bool


class UserFields(NamedTuple):
    """Where the user of a webhook may be.

    - `values`: the fields that may have your id of the user, by name, the best first.
    - `user_of`: the caller's function, and `customer`: what it is called with, the provider's id.
    """

    values: Mapping[str, object]
    user_of: Callable[[str], object] | None
    customer: str | None


class Collector:
    """Builds the `Signals` of one webhook.

    The user is read when the first signal needs one: `user_of` may ask a database.
    """

    def __init__(self, source: Source, history: History, user: UserFields) -> None:
        self._source = source
        self._history = history
        self._fields = user
        self._user: object = None
        self._is_user_read = False
        self._signals: list[Signal] = []
        self._skipped: list[Skipped] = []

    def add(
        self,
        event_type: str,
        properties: Mapping[str, object],
        *,
        occurrence: str | None = None,
        occurred_at: datetime | None = None,
    ) -> None:
        """Add a signal; skip it with the reason if it has no user.

        - `properties`: those that are None are left out.
        - `occurrence`: what names the invoice or transaction for every source, such as
          `"stripe:in_1"`.
        - `occurred_at`: if it did not happen at the time of the webhook.
        """
        user = self._get_user()
        if user is None:
            self.skip(f"{event_type}: {self._describe_missing_user()}")
            return
        source = self._source
        context: dict[str, Any] = {
            "provider": source.provider,
            "provider_event_id": source.id,
            "provider_event_type": source.type,
        }
        if occurrence is not None:
            context["$occurrence_key"] = f"{occurrence}:{event_type}"
        if source.is_test:
            context["$mode"] = "test"
        self._signals.append(
            Signal(
                user,
                event_type,
                drop_none(properties),
                source.at if occurred_at is None else occurred_at,
                f"{source.id}:{event_type}",
                context,
            )
        )

    def skip(self, reason: str) -> None:
        """Add a reason why the webhook, or one meaning of it, is no signal."""
        self._skipped.append(Skipped(self._source.type, reason))

    def finish(self, **changes: object) -> Signals:
        """Return the signals, with the state after the webhook.

        A change to None removes what was known.
        """
        state = self._history.advance(**{**self._get_user_fact(), **changes})
        return Signals(self._signals, self._skipped, state)

    def finish_without_state(self) -> Signals:
        """Return the signals of a webhook that changes no state, such as a payment.

        A state with the time of the payment would make a change of the subscription, which happened
        just before it and comes later, an old one.
        """
        return Signals(self._signals, self._skipped)

    def finish_with_user(self) -> Signals:
        """Return the signals of a webhook that says whose the subscription is, and nothing else."""
        state = self._history.learn(**self._get_user_fact())
        return Signals(self._signals, self._skipped, state)

    def _get_user_fact(self) -> dict[str, str]:
        """Return the user as the state keeps it, if one is known that can be kept."""
        user = self._get_named_user()
        found = self._user
        if user is None and isinstance(found, (str, int, UUID)) and not isinstance(found, bool):
            user = str(found)
        return {} if user is None else {"user": user}

    def _get_named_user(self) -> str | None:
        """Return the user that the payload names."""
        return next((one for one in map(_to_user, self._fields.values.values()) if one), None)

    def _get_user(self) -> object:
        if not self._is_user_read:
            self._is_user_read = True
            self._user = self._get_named_user() or self._history.user
            if self._user is None and self._fields.user_of and self._fields.customer is not None:
                found = self._fields.user_of(self._fields.customer)
                is_blank = isinstance(found, str) and not found.strip()
                self._user = None if is_blank else found
        return self._user

    def _describe_missing_user(self) -> str:
        looked = " and ".join(self._fields.values) or "no field"
        if self._fields.customer is None:
            return f"{NO_USER} {looked}, and no id of a customer for user_of"
        if self._fields.user_of is None:
            return f"{NO_USER} {looked}, and user_of is not given"
        return f"{NO_USER} {looked}, and user_of returned None"


def _to_user(value: object) -> str | None:
    """Return the id of a user as text: a string that is not blank, or an integer."""
    if isinstance(value, str) and value.strip():
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
