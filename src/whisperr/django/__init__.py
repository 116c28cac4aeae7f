"""The Django integration: `request.whisperr`, one client a process, events that follow commits.

    MIDDLEWARE = [
        ...,
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "whisperr.django.WhisperrMiddleware",
    ]

The guide is docs/frameworks/django.md. As an app in INSTALLED_APPS it adds system checks and
commands; the middleware and `get_client` do not need that.
"""

from __future__ import annotations

try:
    import django as _django  # noqa: F401  # only to see whether it is installed
except ModuleNotFoundError as _missing:
    if _missing.name != "django":
        raise
    raise ImportError("whisperr.django needs Django: pip install 'whisperr[django]'") from _missing

from django.core.checks import register as _register

from ._tracker import DjangoRequestTracker as RequestTracker
from ._tracker import WhisperrRequest, track_on_commit
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
    "track_on_commit",
]

# Not by the app: this check reports that the app is missing.
_register(_check_app, "whisperr")
