"""The one client of this process, made from the settings on first use.

Threads: any. No lock: a forked child could find it taken for ever, and a signal handler that
tracks would wait for the thread it interrupts. When two threads come first at the same moment, both
make a client, one is kept, and the other, which has done nothing, is let go.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from django.core.signals import setting_changed

from .conf import PREFIX, RESOLVE_USER, new_client

if TYPE_CHECKING:
    from whisperr import Whisperr

_ONE = "the client"
_made: dict[str, Whisperr] = {}


def get_client() -> Whisperr:
    """Return the client of this process; the first call makes it from the settings.

    Raises django.core.exceptions.ImproperlyConfigured for a missing key or a wrong setting: it
    names the setting and the fix. The middleware calls this when the application starts, so that a
    mistake is found then.
    """
    client = _made.get(_ONE)
    if client is None:
        client = _made.setdefault(_ONE, new_client())
        _meet_celery()
    return client


def _meet_celery() -> None:
    """Deliver where Celery ends its processes, unless the project has connected it by itself."""
    if "celery" in sys.modules:  # looked up: a site without it does not pay for it
        from whisperr.celery import connect_unless_connected

        connect_unless_connected(get_client)


def _forget_after_a_change(*, setting: str, **_: object) -> None:
    """Shut the client down when a test changes its settings; the next use makes a new one."""
    if setting.startswith(PREFIX) and setting != RESOLVE_USER:
        client = _made.pop(_ONE, None)
        if client is not None:
            client.shutdown()


setting_changed.connect(_forget_after_a_change, dispatch_uid="whisperr.django.client")
