"""The outbox for SQLAlchemy 2: an event is a row in the caller's transaction.

Example::

    from whisperr.sqlalchemy import Outbox, whisperr_table

    events = whisperr_table(metadata)
    outbox = Outbox(client, events)

    with Session(engine) as session, session.begin():
        user.plan = "pro"
        outbox.track(session, user.id, "plan_upgraded", {"plan": "pro"})

A commit keeps the row, a rollback discards it. The command `whisperr relay --database URL` delivers
the rows.

.. versionadded:: 1.0
"""

from __future__ import annotations

try:
    import sqlalchemy as _sqlalchemy
except ModuleNotFoundError as _missing:
    if _missing.name != "sqlalchemy":
        raise
    raise ImportError(
        "whisperr.sqlalchemy needs SQLAlchemy: pip install 'whisperr[sqlalchemy]'"
    ) from _missing

if int(_sqlalchemy.__version__.partition(".")[0]) < 2:  # noqa: PLR2004  # the version it is made for
    raise ImportError(
        f"whisperr.sqlalchemy needs SQLAlchemy 2, not {_sqlalchemy.__version__}: "
        "pip install 'whisperr[sqlalchemy]'"
    )

from ._outbox import Outbox
from ._tables import whisperr_table

__all__ = ["Outbox", "whisperr_table"]
