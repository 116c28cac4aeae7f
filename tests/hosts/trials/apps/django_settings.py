"""Settings of Django for its workers, whose broker is a database. WORKERS names the application."""

from __future__ import annotations

import os

SECRET_KEY = "of a trial"  # and of nothing else
USE_TZ = True
INSTALLED_APPS = os.environ["WORKERS"].split(",")
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"{os.environ['FOLDER']}/shop.db",
        "OPTIONS": {"timeout": 30},
    }
}
Q_CLUSTER = {"workers": 2, "timeout": 60, "retry": 120, "orm": "default", "poll": 0.1}
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
