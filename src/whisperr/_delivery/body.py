"""Parses the body of an answer: what it says about a batch, as far as it can be trusted. Pure.

The usual answer is a flat object with few members, which this module parses itself. `json` parses
all others. Importing it waits for the interpreter lock several times while the main thread
computes, and few processes need it otherwise before they send.
"""

from __future__ import annotations

from whisperr._process.imports import json_loads
from whisperr._process.interruption import belongs_to_caller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from whisperr._contract import Answer

    Members = Mapping[str, object]

_LONGEST_CODE = 64
_IN_CODES = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
_PAGES = ("text/html", "application/xhtml+xml")
_SPACE = " \t\n\r"  # RFC 8259, 2
_WORDS = {"true": True, "false": False, "null": None}
_MOST_FLAT_BYTES = 1024  # the usual answers have 30
_MOST_DIGITS = 15


def parse_object(body: bytes) -> Members | None:
    """Return the members of a JSON object; None if the body is anything else."""
    flat = _parse_flat(body)
    if flat is not None or b"{" not in body:  # every encoding of Unicode has this byte for "{"
        return flat
    try:
        answer = json_loads()(body)
    except (ValueError, RecursionError, ImportError) as error:  # Python's files may be gone
        if belongs_to_caller(error):
            raise
        return None
    return answer if isinstance(answer, dict) else None


def get_rejected(members: Members | None) -> int:
    """Return `rejected` of a 202: how many events of the batch failed validation."""
    value = None if members is None else members.get("rejected")
    return value if isinstance(value, int) and value > 0 and value is not True else 0


def get_error_code(members: Members | None) -> str | None:
    """Return the server's error code if it is one word: free text may repeat a payload."""
    for name in ("code", "error"):
        value = None if members is None else members.get(name)
        if isinstance(value, str) and _is_code(value):
            return value
    return None


def is_page(answer: Answer) -> bool:
    """Return whether an answer is a web page, as from a captive portal or a wrong address."""
    if not answer.body:
        return False
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    looks_like_one = kind in _PAGES or answer.body.lstrip()[:1] == b"<"
    return looks_like_one and parse_object(answer.body) is None


def _is_code(text: str) -> bool:
    return (
        0 < len(text) <= _LONGEST_CODE
        and text[0] not in "0123456789_"
        and _IN_CODES.issuperset(text)
    )


def _parse_flat(body: bytes) -> Members | None:
    """Return the members of an object of plain strings, small numbers, true, false and null.

    Return None for anything else, even if it is valid. Each piece between two commas must be a name
    and a value with exactly the quotation marks that they need. So a comma or a colon inside a
    string is never read as a separator.
    """
    if len(body) > _MOST_FLAT_BYTES or not body.isascii() or b"\\" in body:
        return None
    text = body.decode("ascii").strip(_SPACE)
    if text[:1] != "{" or text[-1:] != "}":
        return None
    inside = text[1:-1].strip(_SPACE)
    members: dict[str, object] = {}
    for piece in inside.split(",") if inside else ():
        name, _, value = (part.strip(_SPACE) for part in piece.partition(":"))
        if not _is_plain(name):
            return None
        if _is_plain(value):
            members[name[1:-1]] = value[1:-1]
        elif value in _WORDS:
            members[name[1:-1]] = _WORDS[value]
        elif _is_small_number(value):
            members[name[1:-1]] = int(value)
        else:
            return None
    return members


def _is_plain(text: str) -> bool:
    """Return whether this is one JSON string without escapes or control characters."""
    return (
        len(text) > 1
        and text[0] == text[-1] == '"'
        and '"' not in text[1:-1]
        and text.isprintable()
    )


def _is_small_number(text: str) -> bool:
    return text.isdigit() and len(text) <= _MOST_DIGITS and (text[0] != "0" or text == "0")
