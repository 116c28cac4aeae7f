"""Find the text of one event in the body of its request, exactly as it was sent. Pure."""

from __future__ import annotations

import json
import re

_DECODER = json.JSONDecoder()
_WHITE_SPACE = re.compile(r"[ \t\n\r]*")


def find_event_text(body: bytes, index: int) -> str:
    """Return the text of event `index` of a batch; the whole body when that cannot be found."""
    text = body.decode("utf-8", "replace")
    try:
        spans = _find_spans(text)
    except (ValueError, IndexError, RecursionError):
        return text
    if index >= len(spans):
        return text
    start, end = spans[index]
    return text[start:end]


def _find_spans(text: str) -> list[tuple[int, int]]:
    """Return where each event begins and ends; the last of several `events` counts."""
    spans: list[tuple[int, int]] = []
    at = _skip_sign(text, 0, "{")
    while True:
        key, at = _DECODER.raw_decode(text, _skip_space(text, at))
        at = _skip_space(text, _skip_sign(text, at, ":"))
        if key != "events":
            raise ValueError("a batch has no other key")
        spans, at = _find_elements(text, at)
        at = _skip_space(text, at)
        if text[at] != ",":
            return spans
        at += 1


def _find_elements(text: str, at: int) -> tuple[list[tuple[int, int]], int]:
    found: list[tuple[int, int]] = []
    at = _skip_space(text, _skip_sign(text, at, "["))
    while text[at] != "]":
        _, end = _DECODER.raw_decode(text, at)
        found.append((at, end))
        at = _skip_space(text, end)
        if text[at] == ",":
            at = _skip_space(text, at + 1)
    return found, at + 1


def _skip_sign(text: str, at: int, sign: str) -> int:
    at = _skip_space(text, at)
    if text[at] != sign:
        raise ValueError(f"{sign} expected")
    return at + 1


def _skip_space(text: str, at: int) -> int:
    found = _WHITE_SPACE.match(text, at)
    return found.end() if found else at
