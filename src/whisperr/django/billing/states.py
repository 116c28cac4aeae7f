"""Loads and saves the states of subscriptions, so that two webhooks at once do not lose one.

In a transaction, loading a state locks it until the transaction ends: the next webhook of the
subscription waits, and then sees what this one has saved. The first statement is a write. It locks
the row on every database, also on SQLite, which ignores `select_for_update`; and a transaction of
SQLite that reads first cannot write any more when another has written meanwhile.

Threads: any, each with Django's connection of that thread. Raises django.db.Error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django.apps import apps
from django.db import connections, router, transaction
from django.db.models.functions import Now

from whisperr.billing._fields import Fields

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from whisperr.billing import State

    from .models import SubscriptionState

APP = "whisperr.django.billing"


def has_table() -> bool:
    """Return whether the project has installed the app."""
    return apps.is_installed(APP)


def get_alias() -> str:
    """Return the alias of the database that the project's routers choose for the table."""
    from .models import SubscriptionState  # models need loaded apps

    return str(router.db_for_write(SubscriptionState))


def load_state(key: str) -> State | None:
    """Return the stored state of a subscription, for `previous=`.

    In a transaction, this also locks the state until the transaction ends, so that another webhook
    of the same subscription waits. It needs `"whisperr.django.billing"` in `INSTALLED_APPS`.

    Example::

        with transaction.atomic():
            signals = paddle.signals(payload, previous=load_state)
            get_client().track_signals(signals)
            if signals.state:
                save_state(signals.state)

    Args:
        key: The key of a `State`, such as `"paddle:sub_1"`.

    Returns:
        The state, or None if there is none.

    .. versionadded:: 1.0
    """
    if connections[get_alias()].in_atomic_block:
        _lock(key)
    return _read(key)


def save_state(state: State) -> None:
    """Store the state of a subscription, unless a newer one is stored.

    It needs `"whisperr.django.billing"` in `INSTALLED_APPS`.

    Args:
        state: `Signals.state`.

    .. versionadded:: 1.0
    """
    with transaction.atomic(using=get_alias()):
        _lock(state["key"])
        stored, at = Fields(_read(state["key"]) or {}).time("at"), Fields(state).time("at")
        if stored is None or at is None or stored <= at:
            _get_rows(state["key"]).update(state=state, updated_at=Now())


def _get_rows(key: str) -> QuerySet[SubscriptionState]:
    from .models import SubscriptionState  # models need loaded apps

    return SubscriptionState.objects.using(get_alias()).filter(key=key)


def _read(key: str) -> State | None:
    return cast("State | None", _get_rows(key).values_list("state", flat=True).first()) or None


def _lock(key: str) -> None:
    """Lock the row of a key; add an empty one first if there is none."""
    rows = _get_rows(key)
    if rows.update(updated_at=Now()) == 0:
        # Another webhook may add the row at the same moment: this waits for its transaction.
        rows.bulk_create([rows.model(key=key, state={})], ignore_conflicts=True)
        rows.update(updated_at=Now())
