"""The settings of the processes of these tests; variables of the environment name the database."""

from __future__ import annotations

import os

SECRET_KEY = "of the tests"
USE_TZ = True
INSTALLED_APPS = ["whisperr.django"]
DATABASES = {
    "default": {
        "ENGINE": os.environ.get("OUTBOX_ENGINE", "django.db.backends.postgresql"),
        "NAME": os.environ["OUTBOX_NAME"],
        "HOST": os.environ.get("OUTBOX_HOST", ""),
        "USER": "postgres",
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SILENCED_SYSTEM_CHECKS = ["whisperr.W004"]  # no requests here, so no middleware
WHISPERR_API_KEY = os.environ.get("WHISPERR_API_KEY", "wrk_test")
WHISPERR_REQUEST_TIMEOUT = float(os.environ.get("OUTBOX_REQUEST_TIMEOUT", "10"))
