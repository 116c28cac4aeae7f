"""The Django app: system checks, `manage.py` commands, and the tables and admin of the outbox.

`INSTALLED_APPS += ["whisperr.django"]` adds it. The middleware works without it.
"""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

from .checks import check_settings


class WhisperrConfig(AppConfig):
    """The app, with the label `whisperr`."""

    name: str = "whisperr.django"
    default_auto_field: str = "django.db.models.BigAutoField"
    label: str = "whisperr"  # the last part of the name would be "django"
    verbose_name: str = "Whisperr"

    def ready(self) -> None:
        """Register the system checks."""
        register(check_settings, "whisperr")
