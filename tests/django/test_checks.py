"""System checks: each has an id, and a hint that mends it."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import override_settings

from tests.django.settings import MIDDLEWARE
from whisperr.django.conf import SETTINGS

BILLING = "tests.django.billing_urls"
CONTENT_TYPES = "django.contrib.contenttypes"
OURS = "whisperr.django.WhisperrMiddleware"
CASES: list[tuple[str, dict[str, Any], list[str], str]] = [
    ("all is well", {}, [], ""),
    ("no key", {"WHISPERR_API_KEY": None}, ["whisperr.W010"], "Set WHISPERR_API_KEY in the"),
    ("an empty key", {"WHISPERR_API_KEY": ""}, ["whisperr.W010"], "Set WHISPERR_API_KEY in the"),
    ("no key, disabled", {"WHISPERR_API_KEY": None, "WHISPERR_DISABLED": True}, [], ""),
    ("no key, disabled by text", {"WHISPERR_API_KEY": None, "WHISPERR_DISABLED": "1"}, [], ""),
    ("text that disables nothing", {"WHISPERR_DISABLED": "no", "WHISPERR_FLUSH_AT": "20"}, [], ""),
    ("a wrong word", {"WHISPERR_DISABLED": "maybe"}, ["whisperr.E003"], "Correct WHISPERR_D"),
    ("a key with a space", {"WHISPERR_API_KEY": "wrk a"}, ["whisperr.E001"], "Set WHISPERR_API"),
    ("a publishable key", {"WHISPERR_API_KEY": "wpk_a"}, ["whisperr.W001"], "Use a server key"),
    (
        "a resolver that is not there",
        {"WHISPERR_RESOLVE_USER": "tests.django.nowhere.resolve"},
        ["whisperr.E002"],
        "WHISPERR_RESOLVE_USER is the dotted path of a function",
    ),
    (
        "a resolver that is no function",
        {"WHISPERR_RESOLVE_USER": "tests.django.resolvers.NOT_A_FUNCTION"},
        ["whisperr.E002"],
        "WHISPERR_RESOLVE_USER is the dotted path of a function",
    ),
    ("a wrong value", {"WHISPERR_FLUSH_AT": 0}, ["whisperr.E003"], "Correct WHISPERR_FLUSH_AT"),
    (
        "a typo of the outbox",
        {"WHISPERR_BUFFER": "djano"},
        ["whisperr.E003"],
        "Did you mean 'django'?",
    ),
    (
        "a path to nothing",
        {"WHISPERR_ON_ERROR": "a.b"},
        ["whisperr.E003"],
        "Correct WHISPERR_ON_ERROR",
    ),
    ("http", {"WHISPERR_BASE_URL": "http://example.org"}, ["whisperr.W002"], "Use https://."),
    ("http to this machine", {"WHISPERR_BASE_URL": "http://localhost:8722"}, [], ""),
    (
        "a password in a URL",
        {"WHISPERR_BUFFER": "redis://user:password@localhost"},
        ["whisperr.W009"],
        "Set it to whisperr.buffers.RedisBuffer(URL)",
    ),
    ("the outbox", {"WHISPERR_BUFFER": "django", "WHISPERR_OUTBOX_DATABASE": "default"}, [], ""),
    (
        "the outbox without its app",
        {"WHISPERR_BUFFER": "django", "INSTALLED_APPS": ["django.contrib.auth", CONTENT_TYPES]},
        ["whisperr.E004"],
        'Add "whisperr.django" to INSTALLED_APPS',
    ),
    (
        "an unknown database",
        {"WHISPERR_OUTBOX_DATABASE": "nowhere"},
        ["whisperr.E005"],
        "Name one of DATABASES",
    ),
    ("a typo", {"WHISPERR_FLUSH_ATT": 1}, ["whisperr.W003"], "Did you mean WHISPERR_FLUSH_AT?"),
    ("a wild guess", {"WHISPERR_XYZZY_PLUGH_QUUX": 1}, ["whisperr.W003"], "Remove it."),
    ("no middleware", {"MIDDLEWARE": MIDDLEWARE[:-1]}, ["whisperr.W004"], "Add it after"),
    (
        "the middleware before authentication",
        {"MIDDLEWARE": [OURS, *MIDDLEWARE[:-1]]},
        ["whisperr.W005"],
        "Move it after",
    ),
    ("no source of users", {"MIDDLEWARE": [OURS]}, ["whisperr.W006"], "Add one of the two"),
    (
        "an outbox for each tenant",
        {
            "WHISPERR_BUFFER": "django",
            "SHARED_APPS": ["django.contrib.auth"],
            "TENANT_APPS": ["whisperr.django"],
        },
        ["whisperr.W007"],
        'Move "whisperr.django" to SHARED_APPS',
    ),
    ("no outbox for each tenant", {"TENANT_APPS": ["whisperr.django"]}, [], ""),
    (
        "users of each tenant",
        {"TENANT_APPS": ["django.contrib.auth"]},
        ["whisperr.W008"],
        "Set WHISPERR_RESOLVE_USER to a function that returns an id with the tenant",
    ),
    (
        "users of each tenant of a type",
        {
            "TENANT_TYPES": {
                "public": {"APPS": ["whisperr.django"]},
                "shop": {"APPS": ["django.contrib.auth.apps.AuthConfig"]},
            }
        },
        ["whisperr.W008"],
        "Set WHISPERR_RESOLVE_USER",
    ),
    (
        "users of each tenant with a resolver",
        {
            "TENANT_APPS": ["django.contrib.auth"],
            "WHISPERR_RESOLVE_USER": "tests.django.resolvers.by_header",
        },
        [],
        "",
    ),
    (
        "a function of users that is not there",
        {"WHISPERR_BILLING_USER_OF": "tests.django.nowhere.get_user"},
        ["whisperr.E006"],
        "WHISPERR_BILLING_USER_OF is the dotted path of a function",
    ),
    (
        "an API key in place of the secret",
        {"ROOT_URLCONF": BILLING, "WHISPERR_STRIPE_WEBHOOK_SECRET": ["whsec_1", "sk_live_1"]},
        ["whisperr.E007"],
        "Install stripe, and set",
    ),
    ("no URLs", {"ROOT_URLCONF": None}, [], ""),
    ("users of all tenants", {"SHARED_APPS": ["django.contrib.auth"], "TENANT_APPS": []}, [], ""),
    (
        "a resolver instead of authentication",
        {"MIDDLEWARE": [OURS], "WHISPERR_RESOLVE_USER": "tests.django.resolvers.by_header"},
        [],
        "",
    ),
]


@pytest.mark.parametrize(
    ("settings", "ids", "hint"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_a_check_says_what_is_wrong(settings: dict[str, Any], ids: list[str], hint: str) -> None:
    with override_settings(**{"WHISPERR_API_KEY": "wrk_test", **settings}):
        found = run_checks(tags=["whisperr"])
    assert [message.id for message in found] == ids
    for message in found:
        assert message.hint is not None
        assert message.hint.startswith(hint)


@pytest.mark.parametrize(
    ("written", "ids"),
    [("1", []), ("0", ["whisperr.W010"]), ("maybe", ["whisperr.W010", "whisperr.E003"])],
)
def test_the_environment_disables_too_and_a_wrong_word_there_is_an_error(
    monkeypatch: pytest.MonkeyPatch, written: str, ids: list[str]
) -> None:
    monkeypatch.setenv("WHISPERR_DISABLED", written)
    with override_settings(WHISPERR_API_KEY=None):
        found = run_checks(tags=["whisperr"])
    assert [message.id for message in found] == ids
    wrong = [message.msg for message in found if message.id == "whisperr.E003"]
    assert all(text.startswith("WHISPERR_DISABLED='maybe': must be 1, true") for text in wrong)


def test_the_key_is_never_shown() -> None:
    with override_settings(WHISPERR_API_KEY="wrk_secret key"):
        assert "wrk_secret" not in repr(run_checks(tags=["whisperr"]))


def test_every_setting_is_known_by_its_own_name() -> None:
    settings: dict[str, Any] = dict.fromkeys(SETTINGS.known)
    with override_settings(**settings):
        ids = [message.id for message in run_checks(tags=["whisperr"])]
    assert "whisperr.W003" not in ids


def test_the_checks_run_with_all_others() -> None:
    with override_settings(WHISPERR_API_KEY=None):
        assert "whisperr.W010" in [message.id for message in run_checks()]
