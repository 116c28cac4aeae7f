"""Find the text of one event in the body of its request, exactly as it was sent. Pure."""

from __future__ import annotations

import json
import re

_DECODER = json.JSONDecoder()
_START = re.compile(r'[ \t\n\r]*[{,][ \t\n\r]*"events"[ \t\n\r]*:[ \t\n\r]*\[[ \t\n\r]*')
_SEPARATOR = re.compile(r"[ \t\n\r]*(?:,[ \t\n\r]*)?")
_END = re.compile(r"[ \t\n\r]*}[ \t\n\r]*")


def find_event_text(body: bytes, index: int) -> str:
    """Return the text of event `index` of a batch; the whole body when that cannot be found."""
    text = body.decode("utf-8", "replace")
    try:
        start, end = _find_spans(text)[index]
    except (ValueError, IndexError, RecursionError):
        return text
    return text[start:end]


def _find_spans(text: str) -> list[tuple[int, int]]:
    """Return where each event starts and ends; the last of several `events` counts, as in JSON."""
    spans: list[tuple[int, int]] = []
    at = 0
    while start := _START.match(text, at):
        spans, at = [], start.end()
        while text[at] != "]":
            _, end = _DECODER.raw_decode(text, at)
            spans.append((at, end))
            separator = _SEPARATOR.match(text, end)
            at = separator.end() if separator else end
        at += 1
    if not _END.fullmatch(text, at):
        raise ValueError("not a batch, or not written as one usually is")
    return spans
