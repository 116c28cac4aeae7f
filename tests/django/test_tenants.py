"""A project with django-tenants on a real PostgreSQL, with the settings of its guide."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.django.projects import run_in, start_project
from tests.docs.page import ROOT, get_blocks
from tests.postgres_server import postgres_server
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgres_server import Database, PostgresServer

__all__ = ["postgres_server"]  # a fixture

pytest.importorskip("django_tenants")

PAGE = "docs/frameworks/django-packages.md"
BLOCKS = {block.partition("\n")[0]: block for block in get_blocks(PAGE, "python")}
SETTINGS = """
DATABASES = {{"default": {{
    "ENGINE": "django_tenants.postgresql_backend",
    "NAME": {name!r}, "HOST": {host!r}, "USER": "postgres",
}}}}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
TENANT_MODEL = "customers.Tenant"
TENANT_DOMAIN_MODEL = "customers.Domain"
ALLOWED_HOSTS = ["*"]
USE_X_FORWARDED_HOST = True
ROOT_URLCONF = "shop.urls"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick
TENANT_APPS += ["django.contrib.admin", "django.contrib.messages"]
INSTALLED_APPS += ["django.contrib.admin", "django.contrib.messages"]
MIDDLEWARE += ["django.contrib.messages.middleware.MessageMiddleware"]
"""
MODELS = """
from django_tenants.models import DomainMixin, TenantMixin


class Tenant(TenantMixin):
    auto_create_schema = True


class Domain(DomainMixin):
    pass
"""
URLS = """
from django.contrib import admin
from django.db import transaction
from django.http import HttpResponse
from django.urls import path


def upgrade(request):
    with transaction.atomic():
        request.whisperr.track("plan_upgraded")
    return HttpResponse(request.whisperr.user_id)


async def upgrade_later(request):
    request.whisperr.track("plan_upgraded")
    return HttpResponse(await request.whisperr.auser_id())


def rolled_back(request):
    with transaction.atomic():
        request.whisperr.track("seat_removed")
        transaction.set_rollback(True)
    return HttpResponse("rolled back")


urlpatterns = [
    path("admin/", admin.site.urls),
    path("upgrade/", upgrade),
    path("upgrade-later/", upgrade_later),
    path("rolled-back/", rolled_back),
]
"""


@pytest.fixture
def database(postgres_server: PostgresServer) -> Database:
    return postgres_server.database()


@pytest.fixture
def project(tmp_path: Path, database: Database) -> Path:
    given = SETTINGS.format(name=database.name, host=database.host)
    files = {
        "customers/__init__.py": "",
        "customers/models.py": MODELS,
        "shop/urls.py": URLS,
        "tenants.py": BLOCKS["# tenants.py"],
    }
    start_project(tmp_path, BLOCKS["# tenant_settings.py"] + given, files)
    story = (ROOT / "tests" / "django" / "tenants_story.py").read_text(encoding="utf-8")
    (tmp_path / "story.py").write_text(story, encoding="utf-8")
    return tmp_path


def test_the_events_of_all_tenants_are_in_one_outbox_which_one_relay_delivers(
    project: Path, database: Database
) -> None:
    with LocalServer() as server:
        variables = {
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "WHISPERR_API_KEY": "wrk_test",
            "WHISPERR_BASE_URL": server.url,
        }
        done = run_in(project, "story.py", **variables)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        for tenant in ("acme", "globex"):
            assert found["answers"][tenant] == [f"{tenant}:1", f"{tenant}:1", "rolled back"] * 2
        assert found["schemas"] == {"public": True, "acme": False, "globex": False}
        # A superuser of a tenant does not see the events of other tenants.
        assert found["admin"] == {"acme": [False, 403], "globex": [False, 403]}
        assert database.count("public.whisperr_outboxevent") == 8
        relay = run_in(project, "manage.py", "whisperr_relay", "--once", **variables)
        assert relay.returncode == 0, relay.stderr
        sent = [(one.user, one.type, one.body["properties"]) for one in server.arrivals()]
    assert sent == [
        (f"{tenant}:1", "plan_upgraded", {"tenant": tenant})
        for tenant in ("acme", "globex")
        for _ in range(4)
    ]
    assert database.count("public.whisperr_outboxevent") == 0
