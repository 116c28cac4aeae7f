"""Composes the line of a report: what happened, the fate of the events, the next step. Pure."""

from __future__ import annotations

from whisperr._contract import DOCTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from whisperr.errors import ErrorType, Reason

_NOT_ACCEPTED: dict[str, str] = {
    "invalid": "correct this call",
    "closed": "track before shutdown() and the exit; flush() delivers without closing the client",
    "not_stored": "repair the outbox database; the call can be repeated",
}
# What to do about lost events, by reason.
_NEXT_STEPS: dict[str, str] = {
    **_NOT_ACCEPTED,
    "queue_full": f"raise max_queue_size if this rate is normal; {DOCTOR}",
    "rejected": "correct the code that tracks them: on_error receives the events, "
    'and "whisperr dev" says what is wrong',
    "refused_in_batch": 'correct the code that tracks them: "whisperr dev" says what is wrong',
    "too_large": "put less data into one event",
    "expired": f"find out what delayed their delivery, and check this machine's clock; {DOCTOR}",
    "shutdown": f"use a durable buffer, which outlives the process; {DOCTOR}",
    "lost_in_store": "make sure that no other program changes the buffer's store",
}
DEFERRED_FULL = (
    "the queue and the events that wait for their user or a commit together reached max_queue_size "
    "or max_queue_bytes"
)
NOT_DELIVERED = "not delivered before shutdown ended"
NOT_STORED = "the buffer did not store them"
REPAIR_STORE = f"repair the buffer's store, so that events outlive the process; {DOCTOR}"
_HOOK = ": before_send: "  # in the message of an event that the user's `before_send` spoils
_CORRECT_HOOK = "correct the function that is passed as before_send"
_CORRECT_DEFAULTS = "correct the default_properties or the scope"
_NOT_KEPT = "not kept as a dead letter, because the buffer cannot store it now"


def compose(
    type_: ErrorType, reason: Reason | None, message: str, count: int, others: int, then: str
) -> str:
    """Return the line of a report.

    - `message`: what happened, with the host if there is one.
    - `count`: how many events it is about; `others`: how many of them had other messages.
    - `then`: what to do about them and, if they are kept, their fate; "": what the reason says.
    """
    events = "1 event" if count == 1 else f"{count} events"
    if type_ == "dropped":
        fate = "not accepted" if reason in _NOT_ACCEPTED else "dropped"
        other = "at other call sites" if reason == "closed" else "with other messages"
        more = f", {others} of them {other}" if others else ""
        step = then or _NEXT_STEPS.get(str(reason), DOCTOR)
        if reason == "invalid" and _HOOK in message:
            step = _CORRECT_HOOK
        return f"{message}; {events} {fate} ({reason}){more}; {step}"
    if type_ == "incomplete":
        more = f", {others} of them with other messages" if others else ""
        return f"{message}; {events} accepted without it{more}; {_CORRECT_DEFAULTS}"
    if type_ == "not_durable":
        events = events if count else "events"
        fate = "kept in memory only until the store works again"
        return f"{message}; {events} {fate}; {then or DOCTOR}"
    return f"{message}; {events} {then or f'kept; {DOCTOR}'}"


def describe_kept(message: str, hint: str, kept: str | None) -> tuple[str, str]:
    """Return the message and the next step of a loss, including whether the events were kept.

    `kept`: as in `Accounting.lost`. Events that were not kept get another message, so that a
    summary that includes kept ones counts them separately.
    """
    if kept is None:
        return message, hint
    if not kept:
        return f"{message}; {_NOT_KEPT}", hint
    return message, f"{kept}; {hint}" if hint else kept


def to_fate(wait: float | None, hint: str, *, stored: bool) -> str:
    """Return the fate of events whose delivery failed, and what to do.

    `wait`: seconds until the next attempt; None when there is none.
    `stored`: whether they are in a store that outlives the process.
    """
    if wait is not None:
        fate = f"kept, next attempt in {_to_text(wait)}"
    elif stored:
        fate = "kept in the store for the next process"
    else:
        fate = "not delivered before the shutdown ends"
    return f"{fate}; {hint}"


def _to_text(wait: float) -> str:
    """Return a wait as text: 0.5 s, 7 s, 30 s."""
    return f"{wait:.1g} s" if wait < 1 else f"{wait:.0f} s"
