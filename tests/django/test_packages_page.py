"""docs/frameworks/django-packages.md holds: each block of Python runs in a project of its own.

The blocks of django-tenants run in test_tenants.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.django.projects import run_in, start_project
from tests.docs.page import ROOT, get_blocks, get_text
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "docs/frameworks/django-packages.md"
NAMED = [(block.partition("\n")[0][2:], block) for block in get_blocks(PAGE, "python")]
BLOCKS = dict(NAMED)
SETTINGS = """
INSTALLED_APPS += ["whisperr.django"]
MIDDLEWARE += ["whisperr.django.WhisperrMiddleware"]
ROOT_URLCONF = "urls"
ALLOWED_HOSTS = ["*"]
"""
# What each program does first.
START = """
import django
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import AsyncClient, Client
call_command("migrate", verbosity=0)
ada, bob = (User.objects.create_user(name, pk=pk) for name, pk in (("ada", 1), ("bob", 2)))
browser = Client()
browser.force_login(ada)
"""
REST = """
from rest_framework.authtoken.models import Token
token = Token.objects.create(user=bob)
print(browser.post("/upgrade/").status_code)
print(browser.post("/upgrade/", headers={"Authorization": f"Token {token}"}).status_code)
print(browser.post("/admins/", headers={"Authorization": f"Token {token}"}).status_code)
"""
REST_URLS = """
from django.urls import path
from rest_framework.permissions import IsAdminUser
from rest_api import Upgrade

urlpatterns = [
    path("upgrade/", Upgrade.as_view()),
    path("admins/", Upgrade.as_view(permission_classes=(IsAdminUser,))),
]
"""
NINJA = """
from asgiref.sync import async_to_sync
from rest_framework.authtoken.models import Token
headers = {"Authorization": f"Bearer {Token.objects.create(user=bob)}"}
print(browser.post("/api/upgrade", headers=headers).status_code)
print(browser.post("/api/export", headers=headers).status_code)
print(async_to_sync(AsyncClient().post)("/api/export", headers=headers).status_code)
partner = {"Authorization": "Bearer partner_7"}
print(browser.post("/api/partner/export", headers=partner).status_code)
print(browser.post("/api/upgrade", headers=partner).status_code)
"""
NINJA_URLS = """
from django.urls import path
from ninja_api import api

urlpatterns = [path("api/", api.urls)]
"""
TASKS = """
print(browser.post("/order/").status_code)
"""
TASK_URLS = """
from django.urls import path
from jobs import order_report

urlpatterns = [path("order/", order_report)]
"""
# For each section: the package, settings, files, URLs, a program, what it prints, what arrives.
CASES = [
    pytest.param(
        "rest_framework",
        'INSTALLED_APPS += ["rest_framework.authtoken"]\n' + BLOCKS["rest_settings.py"],
        ("rest_api.py", "refusals.py"),
        REST_URLS,
        REST,
        ["401", "200", "403"],
        [("2", "plan_upgraded"), ("2", "api_request_refused")],
        id="Django REST framework",
    ),
    pytest.param(
        "ninja",
        'INSTALLED_APPS += ["rest_framework.authtoken"]\n',  # the table of tokens
        ("ninja_api.py",),
        NINJA_URLS,
        NINJA,
        ["200", "200", "200", "200", "401"],
        [
            ("2", "plan_upgraded"),
            *[("2", "report_exported")] * 2,
            ("partner_7", "report_exported"),
        ],
        id="django-ninja",
    ),
    pytest.param(
        "django.tasks",
        "",
        ("jobs.py",),
        TASK_URLS,
        TASKS,
        ["200"],
        [("1", "report_ordered"), ("1", "report_exported")],
        id="Django's tasks",
    ),
]


@pytest.mark.parametrize(
    ("needed", "settings", "files", "urls", "program", "printed", "sent"), CASES
)
def test_the_code_of_a_section_does_in_a_new_project_what_it_says(
    tmp_path: Path,
    needed: str,
    settings: str,
    files: tuple[str, ...],
    urls: str,
    program: str,
    printed: list[str],
    sent: list[tuple[str, str]],
) -> None:
    pytest.importorskip(needed)
    texts = {name: BLOCKS[name] for name in files} | {"urls.py": urls, "story.py": START + program}
    start_project(tmp_path, SETTINGS + settings, texts)
    with LocalServer() as server:
        done = run_in(
            tmp_path,
            "story.py",
            DJANGO_SETTINGS_MODULE="shop.settings",
            WHISPERR_API_KEY="wrk_page",
            WHISPERR_BASE_URL=server.url,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == printed
        assert [(arrival.user, arrival.type) for arrival in server.arrivals()] == sent


def test_every_block_is_in_a_project() -> None:
    tenants = {"tenant_settings.py", "tenants.py"}
    run = {"rest_api.py", "refusals.py", "rest_settings.py", "ninja_api.py", "jobs.py"}
    assert [name for name, _ in NAMED] == list(BLOCKS)
    assert set(BLOCKS) == run | tenants
    text = (ROOT / "tests" / "django" / "test_tenants.py").read_text(encoding="utf-8")
    assert all(f'"# {name}"' in text for name in tenants)


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^):#]+)(?:#[\w-]+)?\)", get_text(PAGE)):
        assert (ROOT / PAGE).parent.joinpath(target).exists(), target
