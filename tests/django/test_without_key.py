"""Without a key commands and tests go on, a server does not start, and one record says why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import CommandError, call_command
from django.test import Client, override_settings

from tests.django.projects import run_in, start_project
from whisperr.django import get_client, track_on_commit
from whisperr.testing import capture, send_to

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.django.site import Site
    from whisperr.dev import LocalServer

SETTINGS = """
INSTALLED_APPS += ["whisperr.django", "tracking.apps.Tracking"]
MIDDLEWARE += ["whisperr.django.WhisperrMiddleware"]
STATIC_ROOT = BASE_DIR / "static"
"""
# A receiver tracks while a migration runs, as one of a project does that identifies new users.
TRACKING_APP = """
from django.apps import AppConfig
from django.db.models.signals import post_migrate

def track(**_):
    from whisperr.django import get_client
    get_client().track("u", "site_migrated")

class Tracking(AppConfig):
    name = "tracking"

    def ready(self):
        post_migrate.connect(track)
"""


@pytest.fixture(autouse=True)
def _no_key() -> Iterator[None]:
    with override_settings(WHISPERR_API_KEY=None):
        yield


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A new project that uses the middleware, the app and the client, without a key."""
    files = {"tracking/__init__.py": "", "tracking/apps.py": TRACKING_APP}
    start_project(tmp_path, SETTINGS, files)
    return tmp_path


def test_the_commands_of_a_container_build_go_on(project: Path) -> None:
    for command in (
        ("check",),
        ("makemigrations", "--check"),
        ("migrate", "-v0"),
        ("collectstatic", "--noinput", "-v0"),
        ("test",),
    ):
        done = run_in(project, "manage.py", *command)
        assert done.returncode == 0, done.stderr
        if command != ("collectstatic", "--noinput", "-v0"):
            assert "whisperr.W010" in done.stderr
        if command[0] == "migrate":
            (line,) = [text for text in done.stderr.splitlines() if "no key:" in text]
            assert "WHISPERR_API_KEY is not set, so no event of this process is accepted" in line
    done = run_in(project, "manage.py", "check", "--fail-level", "WARNING")
    assert done.returncode == 1


@pytest.mark.parametrize("module", ["wsgi", "asgi"])
def test_a_server_does_not_start_and_says_what_to_set(project: Path, module: str) -> None:
    done = run_in(project, "-c", f"import shop.{module}")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "django.core.exceptions.ImproperlyConfigured: WHISPERR_API_KEY is not set"
    )
    for text in ("WHISPERR_DISABLED=1", '"whisperr dev -- python manage.py runserver"'):
        assert text in last
    done = run_in(project, "-c", f"import shop.{module}", WHISPERR_API_KEY="wrk_test")
    assert done.returncode == 0, done.stderr


class TestProcess:
    def test_the_client_of_anything_but_a_server_is_disabled_and_one_record_says_so(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert get_client().track("u", "trial_started") is None
        assert track_on_commit("u", "trial_started") is None
        assert get_client() is get_client()
        (record,) = caplog.records
        assert record.levelname == "ERROR"
        assert "WHISPERR_API_KEY is not set" in record.getMessage()
        assert record.getMessage().endswith('then run "python manage.py whisperr_check"')

    def test_that_client_does_not_let_a_server_start(self) -> None:
        get_client()
        with pytest.raises(ImproperlyConfigured, match="WHISPERR_API_KEY is not set"):
            WSGIHandler()

    def test_the_relay_needs_a_key(self) -> None:
        with pytest.raises(CommandError, match="WHISPERR_API_KEY is not set"):
            call_command("whisperr_relay", "--once")

    def test_a_wrong_setting_is_an_error_also_there(self) -> None:
        with (
            override_settings(WHISPERR_FLUSH_AT=0),
            pytest.raises(ImproperlyConfigured, match="WHISPERR_FLUSH_AT = 0"),
        ):
            get_client()


def request_page() -> None:
    from tests.django.urls import CurrentView

    def view(request: Any) -> Any:
        from django.http import HttpResponse

        get_client().track("u", "page_seen")
        return HttpResponse(request.whisperr.user_id or "anonymous")

    CurrentView.view = staticmethod(view)
    assert Client().get("/sync/").content == b"anonymous"


class TestTests:
    def test_a_capture_needs_no_key_and_leaves_nothing(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with capture() as events:
            request_page()
        events.assert_tracked("page_seen", user="u", times=1)
        assert caplog.records == []
        with pytest.raises(ImproperlyConfigured):
            request_page()

    def test_a_local_server_needs_none_either(self, server: LocalServer) -> None:
        with send_to(server.url):
            request_page()
            assert len(server.wait(1, type="page_seen")) == 1
        with pytest.raises(ImproperlyConfigured):
            request_page()

    def test_a_client_that_is_there_already_is_led_and_as_before_afterwards(
        self, site: Site, server: LocalServer
    ) -> None:
        with override_settings(WHISPERR_API_KEY="wrk_test"):
            client = get_client()
            client.track("u", "before")
            with capture() as events:
                assert get_client() is client
                request_page()
            with send_to(server.url):
                request_page()
                assert client.flush(30)
            client.track("u", "after")
            assert len(events) == 1
            types = [type_ for _, type_ in site.sent()]
        assert types == ["page_seen", "before", "after"]

    def test_settings_may_change_meanwhile(self) -> None:
        with capture() as events:
            request_page()
            with override_settings(WHISPERR_APP_VERSION="2.0"):
                request_page()
        first, second = events
        assert "app_version" not in first.context
        assert second.context["app_version"] == "2.0"
