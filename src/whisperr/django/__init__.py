"""The Django integration: `request.whisperr`, one client per process, events that follow a commit.

Add the app and the middleware to the settings::

    INSTALLED_APPS = [..., "whisperr.django"]
    MIDDLEWARE = [
        ...,
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "whisperr.django.WhisperrMiddleware",
    ]

The app adds system checks, `manage.py` commands, and, for the outbox, two tables with read-only
admin pages. The middleware, `get_client` and `track_on_commit` work without the app. Every option
of the client has a setting: `flush_at` is `WHISPERR_FLUSH_AT`.

`stripe_webhook` is a view for the webhooks of Stripe, and `track_webhook` handles those of every
billing provider. A second app, `"whisperr.django.billing"`, adds a table that keeps the state of
each subscription.
"""

from __future__ import annotations

try:
    import django as _django  # noqa: F401  # only to see whether it is installed
except ModuleNotFoundError as _missing:
    if _missing.name != "django":
        raise
    raise ImportError("whisperr.django needs Django: pip install 'whisperr[django]'") from _missing

from django.core.checks import register as _register

from ._tracker import RequestTracker, WhisperrRequest, track_on_commit
from ._webhooks import stripe_webhook, track_webhook
from .billing.states import load_state, save_state
from .checks import check_app as _check_app
from .conf import get_settings_client as get_client
from .middleware import WhisperrMiddleware
from .outbox.buffer import OutboxBuffer

__all__ = [
    "OutboxBuffer",
    "RequestTracker",
    "WhisperrMiddleware",
    "WhisperrRequest",
    "get_client",
    "load_state",
    "save_state",
    "stripe_webhook",
    "track_on_commit",
    "track_webhook",
]

# Registered here and not by the app, because this check reports that the app is missing.
_register(_check_app, "whisperr")
