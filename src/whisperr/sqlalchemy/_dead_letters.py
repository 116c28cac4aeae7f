"""Counts the rows of the outbox, and lists, requeues and deletes dead letters.

Threads: one at a time. Ages are by the clock of the database. Raises SQLAlchemyError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, literal, select, update
from sqlalchemy.exc import SQLAlchemyError

from whisperr._events.layout import get_kind
from whisperr._foreign import printable
from whisperr._integrations.outbox_report import Figures
from whisperr._integrations.values import parse_moment

from . import _statements as statements
from ._sql import Age, Later, RawData, RawText

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ._claims import Claims

# How many dead letters one transaction requeues.
_REQUEUED_AT_ONCE = 500
# Enough for the kind of an event.
_HEAD_BYTES = 256
_LONGEST_MOMENT = 40  # characters
_LONGEST_TEXT = 2_000
_SECONDS_A_DAY = 86_400.0


class DeadLetters:
    """The tables of one outbox, as the commands use them."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._events, self._dead = claims.tables

    def get_figures(self) -> Figures:
        """Count what is in the outbox."""
        events, dead = self._events, self._dead
        rows, free = func.count(), statements.is_free(events)
        with self._claims.begin() as connection:
            total = connection.scalar(select(rows).select_from(events)) or 0
            waiting = connection.scalar(select(rows).select_from(events).where(free)) or 0
            by_reason = select(dead.c.reason, rows).group_by(dead.c.reason)
            reasons = {
                printable(reason): count
                for reason, count in connection.execute(by_reason.order_by(dead.c.reason))
            }
        # Counted at two moments, so the difference may be negative.
        return Figures(waiting, max(total - waiting, 0), self._get_oldest_age(), reasons)

    def get_newest(self, count: int) -> list[dict[str, object]]:
        """Return the newest dead letters, newest first, without payload and user.

        A date that cannot be read is returned as its text.
        """
        dead = self._dead
        columns = (
            dead.c.id,
            dead.c.reason,
            dead.c.status,
            statements.cut_data(dead, _HEAD_BYTES).label("head"),
            RawText(dead.c.created_at).label("created_at"),
            RawText(dead.c.refused_at).label("refused_at"),
            dead.c.message,
        )
        with self._claims.begin() as connection:
            newest = list(
                connection.execute(select(*columns).order_by(dead.c.id.desc()).limit(count))
            )
        return [
            {
                "id": one.id,
                "reason": printable(one.reason, _LONGEST_TEXT),
                "status": one.status,
                "kind": get_kind(bytes(one.head or b"")),
                "created_at": _to_moment(one.created_at),
                "refused_at": _to_moment(one.refused_at),
                "message": printable(one.message, _LONGEST_TEXT),
            }
            for one in newest
        ]

    def requeue(self, ids: Sequence[int] | None) -> int:
        """Put dead letters (None: all) at the end of the outbox; return how many were moved.

        They are moved in several transactions, so an interrupted call has moved some of them.
        """
        found = select(self._dead.c.id).order_by(self._dead.c.id)
        if ids is not None:
            found = found.where(self._dead.c.id.in_(ids))
        # Read all ids first, so that an event that is refused again meanwhile is not moved again.
        with self._claims.begin() as connection:
            chosen = list(connection.scalars(found))
        parts = range(0, len(chosen), _REQUEUED_AT_ONCE)
        return sum(self._move(chosen[at : at + _REQUEUED_AT_ONCE]) for at in parts)

    def prune(self, days: float) -> int:
        """Delete dead letters that were refused more than `days` ago; return how many."""
        before = Later(-days * _SECONDS_A_DAY)
        with self._claims.begin() as connection:
            return connection.execute(
                delete(self._dead).where(self._dead.c.refused_at < before)
            ).rowcount

    def _move(self, ids: Sequence[int]) -> int:
        dead = self._dead
        some = dead.c.id.in_(ids)
        columns = (RawData(dead.c.data), dead.c.created_at, literal(""))
        copied = select(*columns).where(some).order_by(dead.c.id)
        names = ["data", "created_at", "token"]
        with self._claims.begin() as connection:
            # Write first, which locks the rows, so that none is moved twice.
            connection.execute(update(dead).where(some).values(reason=dead.c.reason))
            connection.execute(insert(self._events).inline().from_select(names, copied))
            return connection.execute(delete(dead).where(some)).rowcount

    def _get_oldest_age(self) -> float | None:
        events = self._events
        oldest = select(Age(events.c.created_at)).order_by(events.c.id).limit(1)
        try:
            with self._claims.begin() as connection:
                found = connection.scalar(oldest)
        except SQLAlchemyError:  # an invalid date, which the database refuses
            return None
        return None if found is None else max(float(found), 0.0)


def _to_moment(value: object) -> datetime | str | None:
    """Return a time that the database returned as text; the text itself if it is not a time."""
    if value is None:
        return None
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    has_zone = "+" in text or "-" in text[len("2026-06-14") :]  # only PostgreSQL writes one
    try:
        return parse_moment(text if has_zone else f"{text}Z")
    except ValueError:
        return printable(text, _LONGEST_MOMENT)
