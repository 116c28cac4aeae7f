"""What is read from the body of an answer: the number of rejected events, and an error code."""

from __future__ import annotations

import pytest

from whisperr._delivery.verdict import parse_error_code, parse_rejected

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
    assert parse_rejected(body) == count


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
    assert parse_error_code(body) == code
