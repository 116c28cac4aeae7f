"""The client of a Django process, made from the settings on first use."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from django.core.signals import setting_changed

from whisperr._integrations.client import DefaultClient
from whisperr._integrations.settings import PREFIX

from .conf import RESOLVE_USER, new_client

if TYPE_CHECKING:
    from whisperr import Whisperr


def get_settings_client() -> Whisperr:
    """Return the client of this process; the first call makes it from the settings.

    Raises django.core.exceptions.ImproperlyConfigured for a missing key or a wrong setting: it
    names the setting and the fix. The middleware calls this when the application starts, so that a
    mistake is found then.
    """
    return _client.get()


def _make() -> Whisperr:
    client = new_client()
    if "celery" in sys.modules:  # looked up: a site without it does not pay for it
        # Deliver where Celery ends its processes, unless the project has connected it by itself.
        from whisperr.celery import connect_unless_connected

        connect_unless_connected(get_settings_client)
    return client


_client = DefaultClient(_make)


def _discard_after_a_change(*, setting: str, **_: object) -> None:
    """Shut the client down when a test changes its settings; the next use makes a new one."""
    if setting.startswith(PREFIX) and setting != RESOLVE_USER:
        client = _client.clear()
        if client is not None:
            client.shutdown()


setting_changed.connect(_discard_after_a_change, dispatch_uid="whisperr.django.client")
