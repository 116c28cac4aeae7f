"""How errors show a caller's names, types and refused values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperr import InvalidEvent
from whisperr._events.event import EventEncoder
from whisperr._events.identify import encode_identify
from whisperr._events.redaction import format_path, redact, redact_name
from whisperr._events.to_json import to_json

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ["plan", "amount_cents", "größe", "$mode", "utm-source", "address.city", "_x", "Plan2"]
NO_NAMES = [
    "",
    "ada@example.com",
    "Ada Lovelace",
    "491701234567",
    "+49 170 1234567",
    "4111-1111-1111-1111",
    "a\nwhisperr: all is well",
    "\x1b[2J",
    "a\u202eb",
    "x" * 61,
    "x" * 1024 * 1024,
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_looks_like_one_is_shown(name: str) -> None:
    assert redact_name(name) == name


@pytest.mark.parametrize("name", NO_NAMES, ids=range(len(NO_NAMES)))
def test_of_any_other_name_only_the_length_is_shown(name: str) -> None:
    assert redact_name(name) == f"<a key of {len(name):,} characters>"


@given(st.text())
def test_a_shown_name_is_short_printable_and_no_address(name: str) -> None:
    shown = redact_name(name)
    assert shown.isprintable()
    assert len(shown) <= 60
    assert "@" not in shown


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("secret detail")


def get_error(call: Callable[[], object]) -> str:
    with pytest.raises(InvalidEvent) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("name", NO_NAMES[1:], ids=range(1, len(NO_NAMES)))
@pytest.mark.parametrize(
    "make",
    [
        lambda name: {name: Broken()},
        lambda name: {name: [{name: Broken()}]},
        lambda name: {"a": {name: {"b": Broken()}}},
        lambda name: {"a": Broken(), name: 1},
    ],
)
def test_errors_show_no_name_that_may_be_personal_or_break_a_line(
    name: str, make: Callable[[str], dict[str, Any]]
) -> None:
    value = make(name)
    for call in (
        lambda: to_json(value, "properties"),
        lambda: EventEncoder("9.9.9").encode("u", "e", None, value),
        lambda: encode_identify("u", traits=value),
    ):
        text = get_error(call)
        assert "cannot be read" in text
        assert name not in text
        assert text.isprintable()
        assert len(text) < 400


@pytest.mark.parametrize("name", NO_NAMES[1:], ids=range(1, len(NO_NAMES)))
def test_an_unknown_key_of_a_channel_is_shown_only_when_it_looks_like_a_name(name: str) -> None:
    channel = {"channel": "sms", "address": "1", name: 1}
    text = get_error(lambda: encode_identify("u", channels=[channel]))
    assert "unknown key" in text
    assert name not in text or name == "Ada Lovelace"
    assert text.isprintable()
    assert len(text) < 400


def test_a_path_names_each_step_and_is_never_long() -> None:
    assert format_path(((("properties", "items"), 3), "price")) == "properties.items[3].price"
    path: Any = "properties"
    for _ in range(64):
        path = (path, "x" * 60)
    assert len(format_path(path)) == 201


def test_a_name_of_a_megabyte_is_not_copied_for_each_value_below_it() -> None:
    value = {"x" * 1024 * 1024: {"items": list(range(50_000)), "bad": Broken()}}
    assert "a key of 1,048,576 characters" in get_error(lambda: to_json(value, "properties"))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "None"),
        (True, "True"),
        ("Payment Failed", "'Payment Failed'"),
        ("ada@example.com", "(a str of 15 characters)"),
        ("x" * 1_000_000, "(a str of 1,000,000 characters)"),
        (5, "a int"),
    ],
    ids=range(6),
)
def test_a_refused_value_is_shown_when_it_is_a_constant_or_a_name(
    value: object, shown: str
) -> None:
    assert redact(value) == shown


def test_the_name_of_a_type_is_one_short_line() -> None:
    kind = type("Evil\n\x1b[2J" + "x" * 1_000, (), {"__str__": Broken.__str__})
    for call in (
        lambda: to_json({"a": kind()}, "properties"),
        lambda: EventEncoder("9.9.9").encode(kind(), "e"),
        lambda: EventEncoder("9.9.9").encode("u", kind()),
        lambda: EventEncoder("9.9.9").encode("u", "e", occurred_at=kind()),
        lambda: encode_identify("u", channels=kind()),
    ):
        text = get_error(call)
        assert "Evil" in text
        assert text.isprintable()
        assert len(text) < 200
