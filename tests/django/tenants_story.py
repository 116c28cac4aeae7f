"""A program of test_tenants.py: requests of two tenants of a project, and what is in its outbox.

It writes JSON. The project is in the working directory.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import django

django.setup()

from asgiref.sync import async_to_sync  # noqa: E402  # after the set-up
from customers.models import Domain, Tenant  # type: ignore[import-not-found]  # noqa: E402  # of the project
from django.core.management import call_command  # noqa: E402  # likewise
from django.db import connection  # noqa: E402  # likewise
from django.test import AsyncClient, Client  # noqa: E402  # likewise
from django_tenants.utils import schema_context  # noqa: E402  # likewise

PAGES = ["/upgrade/", "/upgrade-later/", "/rolled-back/"]


def get_headers(tenant: str) -> dict[str, str]:
    """Return the host; Django's client of ASGI sets the header `Host` itself."""
    return {"X-Forwarded-Host": f"{tenant}.localhost"}


def log_in(browser: Any, tenant: str, name: str) -> Any:
    """Return the browser with the session of a user; requests have changed the schema."""
    from django.contrib.auth.models import User

    with schema_context(tenant):
        browser.force_login(User.objects.get(username=name))
    return browser


def request_all(tenant: str) -> list[str]:
    """Request each page under WSGI and under ASGI; return the answers."""
    browser = log_in(Client(headers=get_headers(tenant)), tenant, "ada")
    later = log_in(AsyncClient(), tenant, "ada")
    answers = [browser.get(page) for page in PAGES]
    answers += [async_to_sync(later.get)(page, headers=get_headers(tenant)) for page in PAGES]
    return [answer.content.decode() for answer in answers]


def find_in_admin(tenant: str) -> list[object]:
    """Return whether the admin of a tenant names the outbox, and the status of its page."""
    browser = log_in(Client(headers=get_headers(tenant)), tenant, "ada")
    index = browser.get("/admin/").content.decode()
    return ["outbox" in index.lower(), browser.get("/admin/whisperr/outboxevent/").status_code]


def main() -> None:
    from django.contrib.auth.models import User

    call_command(
        "check", tags=["whisperr"], fail_level="WARNING", stdout=sys.stderr
    )  # of the settings of the guide
    call_command("migrate_schemas", schema_name="public", run_syncdb=True, verbosity=0)
    answers, admin = {}, {}
    for name in ("acme", "globex"):
        with schema_context("public"):
            tenant = Tenant(schema_name=name)
            tenant.save(verbosity=0)
            Domain.objects.create(domain=f"{name}.localhost", tenant=tenant, is_primary=True)
        with schema_context(name):
            User.objects.create_superuser("ada", password="secret")
        answers[name] = request_all(name)
        admin[name] = find_in_admin(name)
    schemas = {}
    for name in ("public", "acme", "globex"):
        with schema_context(name), connection.cursor() as cursor:
            tables = connection.introspection.table_names(cursor)
            schemas[name] = "whisperr_outboxevent" in tables
    sys.stdout.write(json.dumps({"answers": answers, "admin": admin, "schemas": schemas}))


if __name__ == "__main__":
    main()
