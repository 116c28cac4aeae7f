"""Arrivals and requests as JSON: what the API, the stream of the page and the tools of MCP show."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from whisperr.dev._ingest.model import BATCH_PATH
from whisperr.dev._ingest.service import get_request_hint
from whisperr.dev._ingest.validation import get_hint

if TYPE_CHECKING:
    from whisperr.dev._ingest.model import Arrival, ReceivedRequest

    from .arrivals import Arrivals

MAX_NAME_CHARS = 500
_MAX_PROBLEMS = 20
_MAX_ARRIVAL_CHARS = 32_000
_DECODER = json.JSONDecoder()
_START = re.compile(r'[ \t\n\r]*[{,][ \t\n\r]*"events"[ \t\n\r]*:[ \t\n\r]*\[[ \t\n\r]*')
_SEPARATOR = re.compile(r"[ \t\n\r]*(?:,[ \t\n\r]*)?")
_END = re.compile(r"[ \t\n\r]*}[ \t\n\r]*")


def arrival_to_json(arrival: Arrival) -> dict[str, Any]:
    """Return an arrival as the API shows it."""
    problems = [{**vars(problem), "fix": get_hint(problem)} for problem in arrival.problems]
    return {**vars(arrival), "message_id": arrival.message_id, "problems": problems}


def arrival_to_text(arrival: Arrival, max_chars: int = _MAX_ARRIVAL_CHARS) -> str:
    """Return an arrival as JSON, without a body that is very large or cannot be written."""
    fields = arrival_to_json(arrival)
    try:
        text = json.dumps({**fields, "cut": False}, allow_nan=False)
    except (ValueError, RecursionError):  # 1e999 is infinite; a thousand brackets
        text = ""
    if text and len(text) <= max_chars:
        return text
    for name in ("user", "type", "message_id"):
        if fields[name] is not None:
            fields[name] = fields[name][:MAX_NAME_CHARS]
    problems = shorten_problems(fields["problems"])
    return json.dumps({**fields, "problems": problems, "body": None, "cut": True})


def shorten_problems(problems: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the first problems of an arrival with texts of a bounded length."""
    return [
        {name: text[:MAX_NAME_CHARS] for name, text in problem.items()}
        for problem in problems[:_MAX_PROBLEMS]
    ]


def request_to_json(request: ReceivedRequest) -> dict[str, Any]:
    """Return a request as the API shows it: with masked keys and without its body."""
    fields = {
        **vars(request),
        "headers": request.masked_headers,
        "bytes": len(request.body),
        "events": request.events,
        "fix": get_request_hint(request.error),
    }
    del fields["body"]
    return fields


def find_event_text(body: bytes, index: int) -> str:
    """Return the text of event `index` of a batch, or the whole body if it cannot be found."""
    text = decode(body)
    try:
        return _split_batch(text)[index]
    except (ValueError, IndexError, RecursionError):
        return text


def _split_batch(text: str) -> list[str]:
    """Return the text of each event; the last of several `events` counts, as in JSON."""
    events: list[str] = []
    at = 0
    while start := _START.match(text, at):
        events, at = [], start.end()
        while text[at] != "]":
            _, end = _DECODER.raw_decode(text, at)
            events.append(text[at:end])
            separator = _SEPARATOR.match(text, end)
            at = separator.end() if separator else end
        at += 1
    if not _END.fullmatch(text, at):
        raise ValueError("not a batch, or written in an unusual way")
    return events


def has_json(value: object) -> bool:
    """Return whether a value can be written as JSON: 1e999, which is infinite, cannot."""
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return False
    return True


def find_request(memory: Arrivals, number: int) -> ReceivedRequest | None:
    """Return the request with this number; None if the memory does not have it."""
    kept = memory.requests(number - 1)
    return next((request for request in kept if request.number == number), None)


def find_arrival(memory: Arrivals, seq: int) -> Arrival | None:
    """Return the arrival with this number; None if the memory does not have it."""
    return next((one for one in memory.arrivals(after=seq - 1) if one.seq == seq), None)


def find_sent_text(request: ReceivedRequest, arrival: Arrival) -> str:
    """Return an arrival exactly as its request has it."""
    body = request.body
    return find_event_text(body, arrival.index) if request.path == BATCH_PATH else decode(body)


def decode(body: bytes) -> str:
    """Return a body as text; bytes that are not UTF-8 are replaced."""
    return body.decode("utf-8", "replace")
