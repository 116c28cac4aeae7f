"""`whisperr tail`: follow a running local server in a terminal.

It makes one long request for server-sent events. When the connection is lost, it connects again and
resumes the stream, so that it shows arrivals of the meantime too.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from whisperr._foreign import printable
from whisperr._process.signals import ENDING
from whisperr.dev._ingest.model import Arrival, Problem
from whisperr.dev._web.stream import CHANGES, PATH

from .terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from http.client import HTTPResponse
    from typing import NoReturn

_TIMEOUT = 20.0  # seconds, several beats; after that the connection is lost
_RETRY_INTERVAL = 1.0
_MAX_LINE_BYTES = 64 * 1024 * 1024  # of a message, with the largest events
_MAX_REPORT_CHARS = 1_000
# Errors when another program, or another version of the server, answers on the port.
_WRONG_SHAPE = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


class _Refused(Exception):  # noqa: N818  # an answer, not an error of the program
    """Raised when the server refused the call and would refuse it again."""


def tail(*, port: int, filters: Mapping[str, str], lines: int, as_json: bool) -> int:
    """Print what arrives until Ctrl-C. Return 2 if the server refuses the call."""
    terminal = Terminal(sys.stdout)
    for number in ENDING:
        signal.signal(number, signal.default_int_handler)  # raises KeyboardInterrupt
    try:
        for message in _follow(port, filters, lines):
            _print(terminal, message, as_json=as_json)
    except KeyboardInterrupt:
        return 0
    except _Refused as refused:
        _report(str(refused))
        return 2
    except _WRONG_SHAPE:
        _report(f"the server on port {port} is not a whisperr dev")
        return 2
    return 0


def _print(terminal: Terminal, message: Mapping[str, Any], *, as_json: bool) -> None:
    for fields in message["arrivals"]:
        if as_json:
            terminal.line(json.dumps(fields))
        else:
            terminal.arrival(_parse_arrival(fields))
    if message["missed"]:
        _report(f"missed {message['missed']} events, which the server no longer has")


def _follow(port: int, filters: Mapping[str, str], lines: int) -> Iterator[dict[str, Any]]:
    """Yield the messages of the stream of a server, also after its restarts."""
    start = {"recent": str(lines)}
    is_waiting = False
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
        try:
            connection.request("GET", f"{PATH}?{urlencode({**filters, **start})}")
            answer = connection.getresponse()
            if answer.status != HTTPStatus.OK:
                _fail(answer, port)
            for event in _parse_events(answer):
                is_waiting = False
                if event.get("event") == CHANGES:
                    yield _parse_json(event.get("data", ""))
                    start = {"last": event.get("id", "")}
            reason = "the server has closed the stream"
        except (OSError, HTTPException) as error:
            text = getattr(error, "strerror", None) or str(error)
            reason = text.lower() or type(error).__name__
        finally:
            connection.close()
        if not is_waiting:
            is_waiting = True
            _report(
                f"no server on 127.0.0.1:{port} ({reason}); "
                "start it with: whisperr dev; trying again until then"
            )
        Event().wait(_RETRY_INTERVAL)


def _fail(answer: HTTPResponse, port: int) -> NoReturn:
    """Raise OSError for a refusal that may be temporary, else _Refused."""
    text = answer.read(10_000).decode("utf-8", "replace")
    try:
        message = str(_parse_json(text)["message"])
    except _WRONG_SHAPE:
        raise _Refused(f"the server on port {port} is not a whisperr dev") from None
    raise OSError(message) if answer.status == HTTPStatus.SERVICE_UNAVAILABLE else _Refused(message)


def _parse_events(answer: HTTPResponse) -> Iterator[dict[str, str]]:
    """Yield the fields of each server-sent event."""
    fields: dict[str, str] = {}
    while line := answer.readline(_MAX_LINE_BYTES):
        if len(line) == _MAX_LINE_BYTES:
            raise HTTPException("a line that is too long")
        name, separator, value = line.decode("utf-8", "replace").rstrip("\n").partition(": ")
        if separator:
            fields[name] = value
        else:
            yield fields
            fields = {}


def _parse_json(text: str) -> Any:  # noqa: ANN401  # of any server on that port
    """Return a JSON value, None for anything else."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _parse_arrival(fields: dict[str, Any]) -> Arrival:
    """Return the arrival that the API wrote as JSON."""
    problems = [
        Problem(one["pointer"], one["found"], one["expected"]) for one in fields["problems"]
    ]
    known = {field.name: fields[field.name] for field in dataclasses.fields(Arrival)}
    return Arrival(**{**known, "problems": tuple(problems)})


def _report(text: str) -> None:
    print(printable(f"whisperr tail: {text}", _MAX_REPORT_CHARS), file=sys.stderr, flush=True)
