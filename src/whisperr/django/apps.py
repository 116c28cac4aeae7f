"""The optional app: `INSTALLED_APPS += ["whisperr.django"]` adds system checks and commands."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

from .checks import check_settings


class WhisperrConfig(AppConfig):
    """The app `whisperr`."""

    name: str = "whisperr.django"
    default_auto_field: str = "django.db.models.BigAutoField"
    label: str = "whisperr"  # the last part of the name would be "django"
    verbose_name: str = "Whisperr"

    def ready(self) -> None:
        """Register the checks."""
        register(check_settings, "whisperr")
