"""Find one event in the body of its request, byte for byte as it was sent. Pure."""

from __future__ import annotations

import json
import re

_DECODER = json.JSONDecoder()
_WHITE_SPACE = re.compile(r"[ \t\n\r]*")


def event_text(body: bytes, index: int) -> str:
    """Return the text of event `index` of a batch; the whole body when it is no such batch."""
    text = body.decode("utf-8", "replace")
    try:
        spans = _spans(text)
    except (ValueError, IndexError, RecursionError):
        return text
    if index >= len(spans):
        return text
    start, end = spans[index]
    return text[start:end]


def _spans(text: str) -> list[tuple[int, int]]:
    """Return where each event begins and ends; the last of several `events` counts."""
    spans: list[tuple[int, int]] = []
    at = _after(text, 0, "{")
    while True:
        key, at = _DECODER.raw_decode(text, _space(text, at))
        at = _space(text, _after(text, at, ":"))
        if key != "events":
            raise ValueError("a batch has no other key")
        spans, at = _elements(text, at)
        at = _space(text, at)
        if text[at] != ",":
            return spans
        at += 1


def _elements(text: str, at: int) -> tuple[list[tuple[int, int]], int]:
    found: list[tuple[int, int]] = []
    at = _space(text, _after(text, at, "["))
    while text[at] != "]":
        _, end = _DECODER.raw_decode(text, at)
        found.append((at, end))
        at = _space(text, end)
        if text[at] == ",":
            at = _space(text, at + 1)
    return found, at + 1


def _after(text: str, at: int, sign: str) -> int:
    at = _space(text, at)
    if text[at] != sign:
        raise ValueError(f"{sign} expected")
    return at + 1


def _space(text: str, at: int) -> int:
    found = _WHITE_SPACE.match(text, at)
    return found.end() if found else at
