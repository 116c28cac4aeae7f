"""`whisperr tail`: follow a running local server in a terminal.

One long request for server-sent events. When the connection is lost, it connects again and resumes
the stream, so that arrivals of the meantime are shown too.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
from http.client import HTTPConnection, HTTPException
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from whisperr._terminal import wants_colour
from whisperr.dev._ingest.model import Arrival, Problem
from whisperr.dev._web.stream import CHANGES, PATH

from .terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from http.client import HTTPResponse
    from typing import NoReturn

_TIMEOUT = 20.0  # seconds, several beats; after that the connection is lost
_RETRY_INTERVAL = 1.0
_BUSY = 503
_OK = 200


class _Refused(Exception):  # noqa: N818  # an answer, not an error of the program
    """The server refused the call, and would refuse it again."""


def tail(*, port: int, filters: Mapping[str, str], lines: int, as_json: bool) -> int:
    """Print what arrives until Ctrl-C; returns 0, or 2 for a call that the server refuses."""
    terminal = Terminal(sys.stdout, colour=wants_colour(sys.stdout))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    follower = _Follower(port, filters, lines)
    try:
        for message in follower.messages():
            for fields in message["arrivals"]:
                if as_json:
                    terminal.line(json.dumps(fields))
                else:
                    terminal.arrival(_parse_arrival(fields))
            if message["missed"]:
                _report(f"missed {message['missed']} events, which the server no longer has")
    except KeyboardInterrupt:
        return 0
    except _Refused as refused:
        _report(str(refused))
        return 2
    return 0


class _Follower:
    """Reads the stream of one server, over its restarts."""

    def __init__(self, port: int, filters: Mapping[str, str], lines: int) -> None:
        self._port = port
        self._filters = filters
        self._lines = lines
        self._last = ""
        self._waiting = False

    def messages(self) -> Iterator[dict[str, Any]]:
        while True:
            connection = HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT)
            try:
                yield from self._read_stream(connection)
                self._wait("the server has closed the stream")
            except (OSError, HTTPException) as error:
                if isinstance(error, BrokenPipeError):
                    raise  # the reader of our output has ended
                self._wait(str(error) or type(error).__name__)
            finally:
                connection.close()

    def _read_stream(self, connection: HTTPConnection) -> Iterator[dict[str, Any]]:
        start = {"last": self._last} if self._last else {"recent": str(self._lines)}
        connection.request("GET", f"{PATH}?{urlencode({**self._filters, **start})}")
        answer = connection.getresponse()
        if answer.status != _OK:
            self._fail(answer)
            return
        for name, data, cursor in _parse_events(answer):
            self._waiting = False
            if name == CHANGES:
                yield json.loads(data)
                self._last = cursor

    def _fail(self, answer: HTTPResponse) -> None:
        text = answer.read(10_000).decode("utf-8", "replace")
        try:
            message = json.loads(text)["message"]
        except (ValueError, TypeError, KeyError):
            raise _Refused(f"the server on port {self._port} is not a whisperr dev") from None
        if answer.status != _BUSY:
            raise _Refused(message)
        raise OSError(message)

    def _wait(self, reason: str) -> None:
        if not self._waiting:
            self._waiting = True
            _report(
                f"no server on 127.0.0.1:{self._port} ({reason}); "
                "start one with `whisperr dev`; trying again until then"
            )
        Event().wait(_RETRY_INTERVAL)


def _parse_events(answer: HTTPResponse) -> Iterator[tuple[str, str, str]]:
    """Yield each server-sent event: its name, its data, the last id."""
    name, data, cursor = "", "", ""
    while line := answer.readline():
        field, _, value = line.decode("utf-8", "replace").rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            data = value
        elif field == "id":
            cursor = value
        elif not field:
            yield name, data, cursor
            name, data = "", ""


def _parse_arrival(fields: dict[str, Any]) -> Arrival:
    """Return the arrival that the API wrote as JSON."""
    problems = [{k: v for k, v in one.items() if k != "fix"} for one in fields["problems"]]
    known = {field.name: fields[field.name] for field in dataclasses.fields(Arrival)}
    return Arrival(**{**known, "problems": tuple(Problem(**problem) for problem in problems)})


def _report(text: str) -> None:
    print(f"whisperr tail: {text}", file=sys.stderr, flush=True)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
