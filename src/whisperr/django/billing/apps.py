"""The Django app: `INSTALLED_APPS += ["whisperr.django.billing"]` adds its table."""

from __future__ import annotations

from django.apps import AppConfig


class BillingConfig(AppConfig):
    """The app. Its label is not "billing", which a project may have itself."""

    name: str = "whisperr.django.billing"
    default_auto_field: str = "django.db.models.BigAutoField"
    label: str = "whisperr_billing"
    verbose_name: str = "Whisperr billing"
