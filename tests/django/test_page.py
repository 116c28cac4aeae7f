"""docs/frameworks/django.md holds: every block of Python runs, and does what the page says."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import load_command_class
from django.test import override_settings

from tests.django import settings as site_settings
from tests.django.outboxes import get_written
from tests.django.projects import run_in, start_project
from whisperr.dev import LocalServer
from whisperr.django import RequestTracker, checks, get_client
from whisperr.django.conf import SETTINGS

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from tests.django.site import Site

PAGE = Path(__file__).resolve().parents[2] / "docs" / "frameworks" / "django.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
PYTHON = [text for kind, text in BLOCKS if kind == "python"]

# What a browser does: an anonymous visit, the form of the admin, and a visit of the user.
LOG_IN = """
from django.test import Client
browser = Client(SERVER_NAME="localhost")
before = browser.get("/upgrade/").content.decode()
form = {"username": "ada", "password": "correct horse", "next": "/upgrade/"}
after = browser.post("/admin/login/", form, follow=True).content.decode()
print("shows:", before + ", " + after)
"""


def get_module_name(block: str) -> str:
    """Return the name of the file that a block says to be of, without `.py`."""
    return block.partition("\n")[0].removeprefix("# ").removesuffix(".py")


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """Every block of the page, run as the file that it is of."""
    monkeypatch.setenv("WHISPERR_API_KEY", "wrk_page")
    made = {"settings": ModuleType("settings")}
    vars(made["settings"]).update(  # what the settings of a new project have already
        INSTALLED_APPS=[app for app in site_settings.INSTALLED_APPS if "whisperr" not in app],
        MIDDLEWARE=[one for one in site_settings.MIDDLEWARE if "whisperr" not in one],
    )
    for number, block in enumerate(PYTHON):
        name = get_module_name(block)
        module = made.setdefault(name, ModuleType(name))
        monkeypatch.setitem(sys.modules, name, module)
        place = f"docs/frameworks/django.md, block {number + 1}"
        exec(compile(block, place, "exec", dont_inherit=True), vars(module))
    return made


def test_the_settings_are_real_ones(files: dict[str, ModuleType], site: Site) -> None:
    names = {name for name in vars(files["settings"]) if name.startswith("WHISPERR_")}
    assert names <= SETTINGS.known
    assert {"WHISPERR_RESOLVE_USER", "WHISPERR_ON_ERROR"} <= names
    settings: Any = files["settings"]
    billing = "whisperr.django.billing"  # its page is docs/billing/django.md
    assert [*settings.INSTALLED_APPS, billing] == site_settings.INSTALLED_APPS
    assert settings.MIDDLEWARE == site_settings.MIDDLEWARE
    with override_settings(**{name: getattr(settings, name) for name in names}):
        assert checks.check_settings() == []
    for name in re.findall(r"WHISPERR_[A-Z_]+", TEXT):
        assert name in SETTINGS.known


def test_the_views_do_what_the_page_says(files: dict[str, Any], site: Site, ada: User) -> None:
    user = str(ada.pk)
    assert site.get(files["views"].upgrade, ada).content == b"thank you"
    assert site.get(files["payments"].pay, ada).content == b"paid"
    files["payments"].refund(8842)
    files["tasks"].cancelled(8842, "too expensive")
    assert site.aget(files["async_views"].export, ada).content == b"done"
    assert site.aget(files["async_views"].upgrade_now, ada).content == user.encode()
    assert site.sent() == [
        (user, "plan_upgraded"),
        (user, "invoice_paid"),
        ("8842", "refund_granted"),
        ("8842", "subscription_cancelled"),
        (user, "report_exported"),
        (user, "plan_upgraded"),
        (user, None),
    ]


def test_with_the_outbox_the_views_write_rows(
    files: dict[str, Any], site: Site, ada: User, outbox: None
) -> None:
    settings = {
        name: value
        for name, value in vars(files["outbox_settings"]).items()
        if name.startswith("WHISPERR_")
    }
    user = str(ada.pk)
    with override_settings(**settings):
        site.get(files["payments"].pay, ada)
        site.aget(files["async_views"].export, ada)
        site.aget(files["async_views"].upgrade_now, ada)
        files["tasks"].cancelled(8842, "too expensive")
    assert set(settings) == {"WHISPERR_BUFFER", "WHISPERR_OUTBOX_DATABASE"}
    assert get_written() == [
        (user, "invoice_paid"),
        (user, "report_exported"),
        (user, "plan_upgraded"),
        (user, None),
        ("8842", "subscription_cancelled"),
    ]


def test_the_resolver_and_the_callback_are_used(files: dict[str, Any], site: Site) -> None:
    with override_settings(
        WHISPERR_RESOLVE_USER=files["settings"].WHISPERR_RESOLVE_USER,
        WHISPERR_ON_ERROR=files["settings"].WHISPERR_ON_ERROR,
    ):
        site.get(files["views"].upgrade, headers={"X-Account": "acct_7"})
        assert site.sent() == [("acct_7", "plan_upgraded")]
        assert get_client()._config.on_error is files["losses"].write_down


@pytest.mark.parametrize("buffer", ["", "django"])
def test_a_newcomer_pastes_the_page_into_a_new_project_and_its_tests_pass(
    tmp_path: Path, buffer: str
) -> None:
    blocks = {get_module_name(block): block for block in reversed(PYTHON)}  # the first of a name
    names = ("views", "tests", "test_delivery", "payments", "tasks")
    files = {f"{name}.py": blocks[name] for name in names} | {"shop/urls.py": blocks["urls"]}
    start_project(tmp_path, blocks["settings"], files)
    for command in (("check",), ("migrate", "-v0"), ("test",)):
        done = run_in(tmp_path, "manage.py", *command, WHISPERR_BUFFER=buffer)
        assert done.returncode == 0, done.stderr
    assert "Ran 2 tests" in done.stderr
    assert "whisperr.W010" in done.stderr
    broken = blocks["tests"].replace('"plan_upgraded"', '"plan_downgraded"')
    (tmp_path / "tests.py").write_text(broken, encoding="utf-8")
    done = run_in(tmp_path, "manage.py", "test", "tests", WHISPERR_BUFFER=buffer)
    assert done.returncode == 1
    assert "all that was recorded: plan_upgraded (1)" in done.stderr


def test_a_newcomer_logs_in_and_the_event_of_the_page_arrives(tmp_path: Path) -> None:
    blocks = {get_module_name(block): block for block in reversed(PYTHON)}
    files = {"views.py": blocks["views"], "shop/urls.py": blocks["urls"]}
    start_project(tmp_path, blocks["settings"], files)
    with LocalServer() as server:
        variables = {
            "WHISPERR_BASE_URL": server.url,  # what `whisperr dev` sets
            "WHISPERR_API_KEY": "wrk_dev",
            "DJANGO_SUPERUSER_PASSWORD": "correct horse",
        }
        answers = ("--noinput", "--username=ada", "--email=ada@example.com")
        for command in (("migrate", "-v0"), ("createsuperuser", *answers), ("shell", "-c", LOG_IN)):
            done = run_in(tmp_path, "manage.py", *command, **variables)
            assert done.returncode == 0, done.stderr
        (arrival,) = server.arrivals()
    assert "shows: thank you, thank you" in done.stdout
    assert (arrival.user, arrival.type, arrival.status) == ("1", "plan_upgraded", "accepted")
    lines = [line for kind, text in BLOCKS if kind == "console" for line in text.splitlines()]
    for name in ("python manage.py migrate", "python manage.py createsuperuser"):
        assert name in lines


def test_the_types_are_there(files: dict[str, Any]) -> None:
    assert files["requests"].ShopRequest.__annotations__["whisperr"] is RequestTracker
    assert callable(files["asgi"].application)


def test_the_table_of_calls_is_the_tracker() -> None:
    table = TEXT.split("| in any view |")[1].split("\n\n")[0]
    named = set(re.findall(r"\| `(?:await )?(\w+)", table))
    there = {name for name in dir(RequestTracker) if not name.startswith("_")} - {"pending"}
    assert named == there


def test_the_table_of_checks_is_the_one_of_the_code() -> None:
    code = Path(checks.__file__).read_text(encoding="utf-8")
    found = re.findall(r"^\| `(whisperr\.[EW]\d+)`", TEXT, re.MULTILINE)
    assert found == sorted(set(re.findall(r'id="(whisperr\.[EW]\d+)"', code)))


def test_the_commands_are_understood() -> None:
    lines = [line for kind, text in BLOCKS if kind == "console" for line in text.splitlines()]
    calls = [shlex.split(line)[2:] for line in lines if line.startswith("python manage.py")]
    own = [call for call in calls if call[0].startswith("whisperr_")]
    assert [call[0] for call in own] == ["whisperr_check", "whisperr_send"]
    for name, *arguments in own:
        command: Any = load_command_class("whisperr.django", name)
        command.create_parser("manage.py", name).parse_args(arguments)


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^):#]+)(?:#\w+)?\)", TEXT):
        assert (PAGE.parent / target).exists(), target


def test_the_supported_versions_are_those_that_are_tested() -> None:
    matrix = (PAGE.parents[2] / "scripts" / "django_matrix.py").read_text(encoding="utf-8")
    tested = re.findall(r'^    "(\d+\.\d+)": \(', matrix, re.MULTILINE)
    assert f"Django {', '.join(tested[:-1])} and {tested[-1]}, under" in TEXT
