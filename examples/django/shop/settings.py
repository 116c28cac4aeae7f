"""Settings of the shop: those of a new project, and those of whisperr."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = "an example needs no secret"  # noqa: S105  # likewise
DEBUG = True
ALLOWED_HOSTS = [".localhost", "127.0.0.1", "testserver"]  # each tenant has a subdomain
ROOT_URLCONF = "shop.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SHOP_DATABASE", str(BASE_DIR / "shop.sqlite3")),
    }
}
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "whisperr.django",  # checks, commands, the tables and admin of the outbox
    "billing",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "whisperr.django.WhisperrMiddleware",
    "shop.tenants.add_tenant",
]

# `whisperr dev` accepts any key, unless it runs with --key; a real key comes from the environment.
WHISPERR_API_KEY = os.environ.get("WHISPERR_API_KEY", "wrk_local")
WHISPERR_APP_VERSION = "2.3.0"
WHISPERR_DEFAULT_PROPERTIES = {"region": os.environ.get("REGION", "eu")}
WHISPERR_STRICT = DEBUG  # bad input raises in development, and is reported in production
WHISPERR_ON_ERROR = "billing.lost.write_down"

# The key with which the payment provider signs its webhooks.
WEBHOOK_SECRET = os.environ.get("WEBHOOK_SECRET", "whsec_example")
