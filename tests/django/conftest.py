"""A Django site with a database of its own, and a local server that its client sends to."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.contrib.auth.models import User

_HOME = tempfile.TemporaryDirectory(prefix="whisperr-django-", ignore_cleanup_errors=True)
os.environ["SITE_DATABASE"] = str(Path(_HOME.name) / "site.sqlite3")
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.django.settings"

import django  # noqa: E402  # after the variables that its settings read

django.setup()

from django.core.management import call_command  # noqa: E402  # after the set-up
from django.db import connections  # noqa: E402  # likewise
from django.test import Client, override_settings  # noqa: E402  # likewise

from tests.django.site import Site  # noqa: E402  # likewise
from whisperr.dev import LocalServer  # noqa: E402  # likewise


@pytest.fixture(scope="session", autouse=True)
def _database() -> Iterator[None]:
    call_command("migrate", verbosity=0)
    yield
    connections.close_all()
    _HOME.cleanup()


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started


@pytest.fixture
def site(server: LocalServer) -> Iterator[Site]:
    """The site with its client pointed at the local server; nothing leaves before a flush."""
    made = Site(server)
    settings: dict[str, Any] = {
        "WHISPERR_API_KEY": "wrk_test",
        "WHISPERR_BASE_URL": server.url,
        "WHISPERR_FLUSH_AT": 1_000_000,
        "WHISPERR_FLUSH_INTERVAL": 3600.0,
        "WHISPERR_ON_ERROR": made.record_error,
    }
    with override_settings(**settings):
        yield made
        server.set_faults()


@pytest.fixture
def outbox(site: Site) -> Iterator[None]:
    """The site with the outbox as its buffer, and nothing in it."""
    with override_settings(WHISPERR_BUFFER="django"):
        yield
    from whisperr.django.models import OutboxEvent

    OutboxEvent.objects.all().delete()


@pytest.fixture
def second(outbox: None) -> Iterator[str]:
    """A second database, without tables.

    It is the same file in each test: a delivery thread that outlives one keeps its connection.
    """
    from tests.django.outboxes import SECOND, add_database, remove_database

    add_database(Path(_HOME.name) / "second.sqlite3")
    yield SECOND
    remove_database()


@pytest.fixture
def ada() -> Iterator[User]:
    yield from _user("ada")


@pytest.fixture
def bob() -> Iterator[User]:
    yield from _user("bob")


def _user(name: str) -> Iterator[User]:
    from django.contrib.auth.models import User

    user = User.objects.create_user(name, password="secret")
    yield user
    User.objects.filter(pk=user.pk).delete()


@pytest.fixture
def browser(site: Site) -> Iterator[Client]:
    """A browser that is logged in as an administrator."""
    from django.contrib.auth.models import User

    root = User.objects.create_superuser("root", password="secret")
    browser = Client()
    browser.force_login(root)
    yield browser
    root.delete()
