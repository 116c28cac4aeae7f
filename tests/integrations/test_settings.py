"""The settings of a framework."""

from __future__ import annotations

import re

import pytest

from whisperr._integrations.client import SettingsReader, get_setting_name
from whisperr._options import OPTIONS

NOTHING: dict[str, object] = {}


def test_every_option_has_a_setting() -> None:
    assert {get_setting_name(option) for option in OPTIONS} == SettingsReader(NOTHING.get).known


def test_what_is_set_is_read_and_the_key_is_not() -> None:
    settings: dict[str, object] = {
        "WHISPERR_API_KEY": "wrk_test",
        "WHISPERR_FLUSH_AT": 5,
        "WHISPERR_APP_VERSION": None,
        "OTHER": 1,
    }
    assert SettingsReader(settings.get).read() == {"flush_at": 5, "app_version": None}


def test_a_wrong_value_is_an_error_that_names_the_setting() -> None:
    settings: dict[str, object] = {"WHISPERR_FLUSH_AT": 0}
    with pytest.raises(LookupError, match="WHISPERR_FLUSH_AT = 0: must be a whole number from 1"):
        SettingsReader(settings.get, error=LookupError).read()


def test_settings_may_be_the_text_of_the_environment() -> None:
    settings: dict[str, object] = {
        "WHISPERR_FLUSH_AT": "20",
        "WHISPERR_REQUEST_TIMEOUT": "2.5",
        "WHISPERR_DEBUG": "yes",
        "WHISPERR_STRICT": "False",
        "WHISPERR_DISABLED": "",
    }
    assert SettingsReader(settings.get).read() == {
        "flush_at": 20,
        "request_timeout": 2.5,
        "debug": True,
        "strict": False,
        "disabled": False,
    }


@pytest.mark.parametrize(
    ("url", "shown"),
    [("https://ada:secret@host", "(a str of 23 characters)"), ("host:80", "'host:80'")],
)
def test_an_address_is_shown_unless_it_may_have_a_password(url: str, shown: str) -> None:
    settings: dict[str, object] = {"WHISPERR_BASE_URL": url}
    with pytest.raises(ValueError, match=re.escape(f"WHISPERR_BASE_URL = {shown}: must be")):
        SettingsReader(settings.get).read()


def test_an_unknown_name_comes_with_the_nearest_setting() -> None:
    reader = SettingsReader(NOTHING.get, others=["WHISPERR_RESOLVE_USER"])
    names = [
        "WHISPERR_FLUSHAT",
        "WHISPERR_XYZ",
        "OTHER",
        "WHISPERR_DEBUG",
        "WHISPERR_RESOLVE_USERS",
    ]
    assert list(reader.find_unknown(names)) == [
        ("WHISPERR_FLUSHAT", "WHISPERR_FLUSH_AT"),
        ("WHISPERR_XYZ", None),
        ("WHISPERR_RESOLVE_USERS", "WHISPERR_RESOLVE_USER"),
    ]
