"""The body of an answer: the number of rejected events, and the error code."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from whisperr._delivery.body import get_error_code, get_rejected, parse_object

MALFORMED = [
    b"",
    b" ",
    b"{",
    b"null",
    b"5",
    b'"rejected"',
    b'["rejected", "code"]',
    b"<html>bad gateway</html>",
    b"\xff\xfe",
    b"[" * 200_000,
    b'{"rejected": ' + b"9" * 5_000 + b"}",
]


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b'{"accepted": 4, "rejected": 1}', 1),
        (b'{"rejected": 500}', 500),
        (b'{"accepted": 5, "rejected": 0}', 0),
        (b'{"accepted": 5}', 0),
        (b'{"rejected": -1}', 0),
        (b'{"rejected": true}', 0),
        (b'{"rejected": "3"}', 0),
        (b'{"rejected": 3.0}', 0),
        (b'{"rejected": null}', 0),
        (b'{"rejected": [1]}', 0),
        *[(body, 0) for body in MALFORMED],
    ],
)
def test_only_a_positive_whole_number_counts_as_rejected(body: bytes, count: int) -> None:
    assert get_rejected(parse_object(body)) == count


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"code": "invalid_event"}', "invalid_event"),
        (b'{"error": "unauthorized"}', "unauthorized"),
        (b'{"code": "first", "error": "second"}', "first"),
        (b'{"code": "Free text", "error": "second"}', "second"),
        (b'{"code": 17, "error": "second"}', "second"),
        (b'{"code": "v2_limit"}', "v2_limit"),
        (b'{"code": "' + b"a" * 64 + b'"}', "a" * 64),
        (b'{"code": "' + b"a" * 65 + b'"}', None),
        (b'{"error": "ada@example.com is not allowed"}', None),
        (b'{"error": "user_8842\\n"}', None),
        (b'{"error": {"code": "nested"}}', None),
        (b'{"code": ""}', None),
        (b'{"code": "9lives"}', None),
        (b'{"code": null}', None),
        (b'{"message": "bad"}', None),
        *[(body, None) for body in MALFORMED],
    ],
)
def test_a_code_is_one_word_or_none(body: bytes, code: str | None) -> None:
    assert get_error_code(parse_object(body)) == code


USUAL = [
    b'{"accepted": 4, "rejected": 1}',
    b'{"accepted":500,"rejected":0}\r\n',
    b'{"processing": "queued"}',
    b'{"error": "unauthorized"}',
    b' {\n\t"rejected" : 12 }\n',
    b'{"ok": true, "error": null, "is_test": false, "": ""}',
    b'{"rejected": 1, "rejected": 2}',
    b"{}",
    b"{ }",
    b"",
    b"<html><title>502</title></html>",
    b"[1, 2]",
]


@pytest.fixture
def without_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "json", None)  # importing it raises ImportError


@pytest.mark.usefixtures("without_json")
@pytest.mark.parametrize("body", USUAL)
def test_the_usual_answers_are_read_without_importing_json(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = parse_object(body)
    monkeypatch.undo()
    assert found == load_object(body)


@pytest.mark.usefixtures("without_json")
@pytest.mark.parametrize("body", [b'{"event": {"mapping_status": "pending"}}', b'{"a": "\\n"}'])
def test_without_json_only_flat_objects_are_read(body: bytes) -> None:
    assert parse_object(body) is None


def load_object(body: bytes) -> dict[str, object] | None:
    """Return what `json` finds."""
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


# Pieces of texts that are almost JSON objects, or that differ in lookalike characters.
SIGNS = '{}[]":, \t\r\n\\\x0b\x7f\xa0\ufeff\u0661'
WORDS = """0 7 -1 00 1.5 1e3 123456789012345678 true null NaN " '' "a" "a,b" "a:b" "\\"" {"a" "}"""
PIECES = st.sampled_from([*SIGNS, *WORDS.split(" ")])
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
OBJECTS = st.dictionaries(st.text(), VALUES | st.lists(VALUES) | st.dictionaries(st.text(), VALUES))


@given(st.lists(PIECES, max_size=12).map("".join))
@example('{"a": "b", "c": "d"}')
@example('{"a": "b, "c": d"}')
@example('{"a:b": 1}')
@example('{"a" "b": 1}')
@example('{"a": "b" "c"}')
@example('{"a": 1,}')
@example('{"a": "\x0b"}')
@example('{"a": 01}')
@example('{"a": -0}')
@example('{"a": +1}')
@example('{"a": 1_0}')
@example('{"a":\x0b1}')
@example('{"a": "x\x7f"}')
@example("{" * 2000)
def test_any_text_is_read_as_json_reads_it(text: str) -> None:
    body = text.encode()
    assert parse_object(body) == load_object(body)


@given(OBJECTS, st.booleans(), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
def test_any_object_is_read_as_json_reads_it(
    members: dict[str, object], ascii_only: bool, encoding: str
) -> None:
    try:
        body = json.dumps(members, ensure_ascii=ascii_only).encode(encoding)
    except UnicodeEncodeError:  # half of a pair of surrogates
        return
    expected = load_object(body)
    assert repr(parse_object(body)) == repr(expected)  # NaN is not equal to itself
