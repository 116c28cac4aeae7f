"""The settings: every option of the client, dotted paths, and mistakes with their fixes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.test import override_settings

from whisperr import Whisperr
from whisperr._integrations.client import get_setting_name
from whisperr._options import OPTIONS
from whisperr.django import get_client
from whisperr.django.conf import SETTINGS, config, new_client

if TYPE_CHECKING:
    from tests.django.site import Site

HOOKS = "tests.django.hooks"
# A value of each option that is not its default, and what the client makes of it.
GIVEN: dict[str, tuple[object, object]] = {
    "base_url": ("http://127.0.0.1:1/", "http://127.0.0.1:1"),
    "flush_at": (3, 3),
    "flush_interval": (2.5, 2.5),
    "max_queue_size": (7, 7),
    "max_batch_size": (9, 9),
    "max_retries": (1, 1),
    "request_timeout": (1.5, 1.5),
    "disabled": (True, True),
    "debug": (True, True),
    "app_version": ("2.1", "2.1"),
    "test_mode": (True, True),
    "strict": (True, True),
    "max_queue_bytes": (4096, 4096),
}
PATHS = {
    "on_error": f"{HOOKS}.record_error",
    "before_send": f"{HOOKS}.review",
    "default_properties": f"{HOOKS}.get_region",
    "buffer": f"{HOOKS}.make_buffer",
    "ssl_context": f"{HOOKS}.CONTEXT",
    "transport": f"{HOOKS}.Transport",
}


def test_every_option_has_a_setting() -> None:
    assert {get_setting_name(option) for option in OPTIONS} == SETTINGS.known - {
        "WHISPERR_BILLING_USER_OF",
        "WHISPERR_OUTBOX_DATABASE",
        "WHISPERR_RESOLVE_USER",
        "WHISPERR_STRIPE_WEBHOOK_SECRET",
    }
    assert {"api_key", *GIVEN, *PATHS} == {option.name for option in OPTIONS}


@pytest.mark.parametrize("name", GIVEN)
def test_a_setting_reaches_the_client(name: str) -> None:
    value, expected = GIVEN[name]
    key = {"WHISPERR_API_KEY": "wrk_test", f"WHISPERR_{name.upper()}": value}
    with override_settings(**key):
        assert getattr(get_client()._config, name) == expected
        assert getattr(config(), name) == expected


@pytest.mark.parametrize("name", PATHS)
def test_a_dotted_path_names_an_object_or_what_makes_it(name: str) -> None:
    from tests.django import hooks

    expected = {
        "on_error": lambda made: made is hooks.record_error,
        "before_send": lambda made: made is hooks.review,
        "default_properties": lambda made: made is hooks.get_region,
        "buffer": lambda made: type(made) is hooks.Buffer,
        "ssl_context": lambda made: made is hooks.CONTEXT,
        "transport": lambda made: type(made) is hooks.Transport,
    }
    key = {"WHISPERR_API_KEY": "wrk_test", f"WHISPERR_{name.upper()}": PATHS[name]}
    with override_settings(**key):
        assert expected[name](getattr(get_client()._config, name))


def test_a_callable_itself_is_allowed() -> None:
    reports: list[object] = []
    with override_settings(WHISPERR_API_KEY="wrk_test", WHISPERR_ON_ERROR=reports.append):
        assert get_client()._config.on_error == reports.append


def test_the_environment_gives_key_and_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPERR_API_KEY", "wrk_environment")
    monkeypatch.setenv("WHISPERR_BASE_URL", "http://127.0.0.1:2")
    with override_settings(WHISPERR_STRICT=False):
        assert get_client()._config.key.reveal() == "wrk_environment"
        assert get_client()._config.base_url == "http://127.0.0.1:2"


@pytest.mark.parametrize("source", ["settings", "environment"])
def test_what_is_disabled_by_text_needs_no_key(
    monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    names: dict[str, Any] = {"WHISPERR_API_KEY": None}
    if source == "settings":
        names["WHISPERR_DISABLED"] = "1"
    else:
        monkeypatch.setenv("WHISPERR_DISABLED", "true")
    with override_settings(**names):
        assert not get_client().enabled
        assert config().disabled


def test_a_wrong_flag_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPERR_DISABLED", "maybe")
    with (
        override_settings(WHISPERR_API_KEY=None),
        pytest.raises(ImproperlyConfigured, match="WHISPERR_DISABLED='maybe': must be 1, true"),
    ):
        get_client()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"API_KEY": None}, "WHISPERR_API_KEY is not set. Set it in the settings"),
    ({"API_KEY": ""}, "WHISPERR_API_KEY: is empty. Set it in the settings to a server key"),
    ({"API_KEY": "wrk_a b"}, "WHISPERR_API_KEY: must not contain whitespace"),
    ({"FLUSH_AT": 0}, "WHISPERR_FLUSH_AT = 0: must be a whole number from 1"),
    ({"FLUSH_AT": "many"}, "WHISPERR_FLUSH_AT = 'many': must be a whole number from 1"),
    ({"DEBUG": "maybe"}, "WHISPERR_DEBUG = 'maybe': must be True or False, or as text 1, true, y"),
    (
        {"BASE_URL": "ftp://a:b@c"},
        "WHISPERR_BASE_URL = (a str of 11 characters): must be an http:// or https:// URL",
    ),
    ({"BASE_URL": "localhost:80"}, "WHISPERR_BASE_URL = 'localhost:80': must be an http:// or "),
    ({"ON_ERROR": 7}, "WHISPERR_ON_ERROR = 7: must be a callable or None"),
    (
        {"ON_ERROR": "handler"},
        "WHISPERR_ON_ERROR = 'handler': cannot be imported: handler doesn't look",
    ),
    ({"ON_ERROR": f"{HOOKS}.nope"}, f"WHISPERR_ON_ERROR = '{HOOKS}.nope': cannot be imported"),
    ({"TRANSPORT": f"{HOOKS}.NUMBER"}, "WHISPERR_TRANSPORT = 'tests.django.hooks.NUMBER': must be"),
    ({"BUFFER": f"{HOOKS}.make_nothing"}, "WHISPERR_BUFFER: making it raised OSError: disk full"),
    ({"RESOLVE_USER": "no.such"}, "WHISPERR_RESOLVE_USER = 'no.such': cannot be imported"),
    ({"RESOLVE_USER": f"{HOOKS}.NUMBER"}, "WHISPERR_RESOLVE_USER = 'tests.django.hooks.NUMBER': m"),
]


@pytest.mark.parametrize(("settings", "text"), WRONG, ids=[text for _, text in WRONG])
def test_a_mistake_is_found_when_the_site_starts(settings: dict[str, Any], text: str) -> None:
    names = {f"WHISPERR_{name}": value for name, value in settings.items()}
    with override_settings(**{"WHISPERR_API_KEY": "wrk_test", **names}):
        with pytest.raises(ImproperlyConfigured) as raised:
            WSGIHandler()
        assert str(raised.value).startswith(text)
        if "RESOLVE_USER" not in settings and settings.get("API_KEY", "wrk_test"):
            with pytest.raises(ImproperlyConfigured):
                get_client()


def test_a_wrong_address_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPERR_BASE_URL", "nowhere:80")
    with (
        override_settings(WHISPERR_API_KEY="wrk_test"),
        pytest.raises(
            ImproperlyConfigured, match="whisperr: WHISPERR_BASE_URL='nowhere:80': must be"
        ),
    ):
        get_client()


def test_disabled_needs_no_key() -> None:
    with override_settings(WHISPERR_DISABLED=True):
        WSGIHandler()
        assert get_client().ready is False
    assert isinstance(new_client(disabled=True), Whisperr)


def test_no_frame_of_a_mistake_holds_the_key(site: Site) -> None:
    with override_settings(WHISPERR_API_KEY="wrk_secret key"):
        try:
            get_client()
        except ImproperlyConfigured as error:
            frame = error.__traceback__
            while frame is not None:
                if "whisperr" in frame.tb_frame.f_globals["__name__"].split(".")[0]:
                    assert "wrk_secret" not in repr(frame.tb_frame.f_locals)
                frame = frame.tb_next
        else:
            pytest.fail("it was accepted")


def test_without_django_the_error_names_what_to_install() -> None:
    program = """
import sys
sys.modules["django"] = None  # as if it were not installed
try:
    import whisperr.django
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "whisperr.django needs Django: pip install 'whisperr[django]'\n"


def test_a_broken_django_is_not_called_missing() -> None:
    program = """
import sys
sys.modules["asgiref"] = None
try:
    import whisperr.django
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert "asgiref" in done.stdout
    assert "pip install whisperr" not in done.stdout
