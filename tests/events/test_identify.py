"""The contents of an identify, and the errors for refused arguments."""

from __future__ import annotations

import json
from typing import Any

import pytest

from whisperr import Channel, InvalidEvent
from whisperr._events.identify import encode_identify
from whisperr._events.layout import is_identify


def identify(*args: Any, **kwargs: Any) -> dict[str, Any]:
    data = encode_identify(*args, **kwargs)
    assert is_identify(data)
    parsed: dict[str, Any] = json.loads(data)
    return parsed


def test_only_the_user_is_required() -> None:
    assert identify(8) == {"external_user_id": "8"}


def test_empty_traits_are_left_out() -> None:
    assert identify("u", traits={}) == {"external_user_id": "u"}


def test_all_arguments_together() -> None:
    assert identify(
        "u", traits={"plan": "pro"}, anonymous_id="3f2c", preferred_channel="sms", phone="+1"
    ) == {
        "external_user_id": "u",
        "anonymous_id": "3f2c",
        "traits": {"plan": "pro"},
        "preferred_channel": "sms",
        "channels": [{"channel": "sms", "address": "+1", "opted_in": True}],
    }


def test_shortcuts_become_opted_in_channels_in_order() -> None:
    assert identify("u", push_token="t", phone="p", email="e")["channels"] == [
        {"channel": "email", "address": "e", "opted_in": True},
        {"channel": "sms", "address": "p", "opted_in": True},
        {"channel": "push", "address": "t", "opted_in": True},
    ]


def test_a_blank_shortcut_counts_as_left_out() -> None:
    assert identify("u", email="", phone=" ") == {"external_user_id": "u"}


def test_explicit_channels_replace_the_shortcuts() -> None:
    channels = [Channel.email("a@b", verified=False)]
    assert identify("u", email="other", channels=channels)["channels"] == [
        {"channel": "email", "address": "a@b", "verified": False}
    ]


@pytest.mark.parametrize("key", ["channel", "type"])
def test_the_kind_of_a_channel_may_have_either_key(key: str) -> None:
    given = [{key: "email", "address": "a@b", "opted_in": None}]
    assert identify("u", channels=given)["channels"] == [{"channel": "email", "address": "a@b"}]


def test_a_push_channel_keeps_its_fields() -> None:
    channel = Channel.push(
        "token",
        kind="fcm",
        platform="ios",
        push_env="sandbox",
        client_app_id="app",
        provider_project="p",
        opted_in=True,
    )
    assert identify("u", channels=(channel,))["channels"] == [
        {key: value for key, value in channel.items() if value is not None}
    ]


def test_a_flag_that_is_left_out_is_not_sent() -> None:
    assert identify("u", channels=[Channel.sms("+1")])["channels"] == [
        {"channel": "sms", "address": "+1"}
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"email": 5}, "email: must be a string"),
        ({"anonymous_id": "x" * 129}, "anonymous_id: must have 1 to 128 characters, got 129"),
        ({"anonymous_id": " "}, "anonymous_id: must not be empty"),
        ({"preferred_channel": "fax"}, "preferred_channel: must be one of email, sms, push"),
        ({"preferred_channel": 5}, "got a int"),
        ({"traits": []}, "traits: must be a dict"),
        ({"channels": {"channel": "email"}}, "channels: must be a list"),
        ({"channels": ["email"]}, r"channels\[0\]: must be a dict"),
        ({"channels": [{"kanal": "email"}]}, r"channels\[0\]: unknown key 'kanal'"),
        ({"channels": [{"address": "a"}]}, r"channels\[0\]\.channel: must be one of"),
        ({"channels": [{"channel": "sms"}]}, r"channels\[0\]\.address"),
        ({"channels": [{"channel": "sms", "address": " "}]}, r"channels\[0\]\.address"),
        (
            {"channels": [{"channel": "sms", "address": "1", "opted_in": "yes"}]},
            r"channels\[0\]\.opted_in: must be True or False",
        ),
        (
            {"channels": [{"channel": "sms", "address": "1", "kind": "fcm"}]},
            r"channels\[0\]\.kind: only a push channel has it",
        ),
        (
            {"channels": [{"channel": "push", "address": "1", "kind": "gcm"}]},
            r"channels\[0\]\.kind: must be one of fcm",
        ),
        (
            {"channels": [{"channel": "push", "address": "1", "client_app_id": 5}]},
            r"channels\[0\]\.client_app_id",
        ),
    ],
)
def test_the_error_for_a_wrong_argument_names_it(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidEvent, match=problem):
        identify("u", **arguments)


def test_the_error_does_not_repeat_an_address_in_a_wrong_argument() -> None:
    with pytest.raises(InvalidEvent) as caught:
        identify("u", preferred_channel="ada@example.com")
    assert "ada" not in str(caught.value)
