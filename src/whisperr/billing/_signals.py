"""What a webhook means: the signals to send, what was skipped, and what to remember."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

from whisperr._frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

Status = Literal["trial", "active", "issue", "ended"]
MAX_KEY_CHARS = 255  # of the key of a state, so that a column of a database holds it


class Signal(Frozen):
    """One billing event of a user, for `Whisperr.track_signal`.

    Attributes:
        user: Your id of the user.
        event_type: A reserved billing event, such as `"renewal_succeeded"`.
        properties: Its properties. `price` is a `Decimal` in major units; times are RFC 3339.
        occurred_at: When it happened, by the provider's clock, in UTC.
        message_id: The provider's id of the webhook and the event type, such as
            `"evt_1:renewal_succeeded"`. A webhook that comes again makes the same id.
        context: `provider`, `provider_event_id` and `provider_event_type`; `$occurrence_key`, which
            names the invoice or transaction; and `$mode`, `"test"` for a test environment.

    .. versionadded:: 1.0
    """

    __slots__ = ("context", "event_type", "message_id", "occurred_at", "properties", "user")

    user: object
    event_type: str
    properties: dict[str, Any]
    occurred_at: datetime
    message_id: str
    context: dict[str, Any]

    def __init__(
        self,
        user: object,
        event_type: str,
        properties: dict[str, Any],
        occurred_at: datetime,
        message_id: str,
        context: dict[str, Any],
    ) -> None:
        self._set(
            user=user,
            event_type=event_type,
            properties=properties,
            occurred_at=occurred_at,
            message_id=message_id,
            context=context,
        )


class Skipped(Frozen):
    """Why a webhook, or one meaning of it, became no signal.

    Attributes:
        event_type: The provider's type of the webhook, such as `"invoice.paid"`; "" if it has none.
        reason: One sentence, such as `"an invoice of 0: a trial begins"`. It has no data of users.

    .. versionadded:: 1.0
    """

    __slots__ = ("event_type", "reason")

    event_type: str
    reason: str

    def __init__(self, event_type: str, reason: str) -> None:
        self._set(event_type=event_type, reason=reason)


class State(TypedDict, total=False):
    """What the next webhook of a subscription needs to know: JSON, for you to keep.

    Store it under its `key`, after the signals were tracked. Pass `previous=` a function that
    returns the state of a key.

    Attributes:
        key: The provider and its id of the subscription, such as `"stripe:sub_1"`, at most 255
            characters.
        at: When the newest webhook in it happened, RFC 3339.
        event: The id of that webhook.
        before: What was known before it, so that the same webhook means the same again.
        handled: The ids of the newest webhooks that are in it.
        user: Your id of the user.
        status: `"trial"`, `"active"`, `"issue"` (a payment failed) or `"ended"`.
        auto_renew: Whether the subscription renews.
        paid_by: The invoice or transaction that began the first paid period.
        end_reason: Why the membership ended, as in `membership_ended`.
        unpaid: Whether the payment that failed was the first one after a free trial.
        paid_from: When the subscription was billed first, RFC 3339.

    .. versionadded:: 1.0
    """

    key: str
    at: str
    event: str
    before: dict[str, Any]
    handled: list[str]
    user: str
    status: Status
    auto_renew: bool
    paid_by: str
    end_reason: str
    unpaid: bool
    paid_from: str


class Signals(list[Signal]):
    """The signals of one webhook: a list, which may be empty.

    Args:
        signals: The items of the list.
        skipped: As the attribute.
        state: As the attribute.

    Attributes:
        skipped: Why the webhook, or one meaning of it, became no signal. A webhook without signals
            has at least one reason here.
        state: What to store for the next webhook of this subscription. None if the webhook
            belongs to no subscription, or was not understood.

    .. versionadded:: 1.0
    """

    def __init__(
        self,
        signals: Iterable[Signal] = (),
        skipped: Iterable[Skipped] = (),
        state: State | None = None,
    ) -> None:
        super().__init__(signals)
        self.skipped: list[Skipped] = list(skipped)
        self.state: State | None = state

    def __repr__(self) -> str:
        return f"Signals({super().__repr__()}, skipped={self.skipped!r}, state={self.state!r})"
