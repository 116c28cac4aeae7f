"""`whisperr tail`: follow a running local server in a terminal.

One long request for server-sent events. When the server goes away it is looked for again, and
what came meanwhile is shown where the stream goes on.
"""

from __future__ import annotations

import json
import signal
import sys
from http.client import HTTPConnection, HTTPException
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from whisperr._terminal import wants_colour
from whisperr.dev._ingest.validation import Problem
from whisperr.dev._memory.arrivals import Arrival
from whisperr.dev._web.stream import PATH

from .terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from http.client import HTTPResponse
    from typing import NoReturn

_SILENCE = 20.0  # several beats: after that the server counts as gone
_PAUSE = 1.0
_BUSY = 503
_OK = 200


class _Refused(Exception):  # noqa: N818  # an answer, not an error of the program
    """The server will never answer this call otherwise."""


def tail(*, port: int, filters: Mapping[str, str], lines: int, as_json: bool) -> int:
    """Print what arrives until Ctrl-C; returns 0, or 2 for a call that the server refuses."""
    terminal = Terminal(sys.stdout, colour=wants_colour(sys.stdout))
    signal.signal(signal.SIGTERM, _interrupted)
    signal.signal(signal.SIGINT, _interrupted)
    follower = _Follower(port, filters, lines)
    try:
        for message in follower.messages():
            for fields in message["arrivals"]:
                if as_json:
                    terminal.line(json.dumps(fields))
                else:
                    terminal.arrival(_arrival_of(fields))
            if message["missed"]:
                _tell(f"{message['missed']} events came and went meanwhile")
    except KeyboardInterrupt:
        return 0
    except _Refused as refused:
        _tell(str(refused))
        return 2
    return 0


class _Follower:
    """Follows one server over its restarts."""

    def __init__(self, port: int, filters: Mapping[str, str], lines: int) -> None:
        self._port = port
        self._filters = filters
        self._lines = lines
        self._last = ""
        self._waiting = False

    def messages(self) -> Iterator[dict[str, Any]]:
        while True:
            connection = HTTPConnection("127.0.0.1", self._port, timeout=_SILENCE)
            try:
                yield from self._followed(connection)
                self._wait("the server has closed the stream")
            except (OSError, HTTPException) as error:
                if isinstance(error, BrokenPipeError):
                    raise  # who reads our output has gone
                self._wait(str(error) or type(error).__name__)
            finally:
                connection.close()

    def _followed(self, connection: HTTPConnection) -> Iterator[dict[str, Any]]:
        asked = dict(self._filters)
        asked.update({"last": self._last} if self._last else {"recent": str(self._lines)})
        connection.request("GET", f"{PATH}?{urlencode(asked)}")
        answer = connection.getresponse()
        if answer.status != _OK:
            self._refused(answer)
            return
        for name, data, place in _read(answer):
            self._waiting = False
            if name == "news":
                yield json.loads(data)
                self._last = place

    def _refused(self, answer: HTTPResponse) -> None:
        text = answer.read(10_000).decode("utf-8", "replace")
        try:
            message = json.loads(text)["message"]
        except (ValueError, TypeError, KeyError):
            raise _Refused(f"what listens on port {self._port} is no whisperr dev") from None
        if answer.status != _BUSY:
            raise _Refused(message)
        raise OSError(message)

    def _wait(self, reason: str) -> None:
        if not self._waiting:
            self._waiting = True
            _tell(
                f"no server on 127.0.0.1:{self._port} ({reason}); "
                "start one with `whisperr dev`; looking for it again"
            )
        Event().wait(_PAUSE)


def _read(answer: HTTPResponse) -> Iterator[tuple[str, str, str]]:
    """Yield each server-sent event: its name, its data, the last id."""
    name, data, place = "", "", ""
    while line := answer.readline():
        field, _, value = line.decode("utf-8", "replace").rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            data = value
        elif field == "id":
            place = value
        elif not field:
            yield name, data, place
            name, data = "", ""


def _arrival_of(fields: dict[str, Any]) -> Arrival:
    """Make the arrival that the API wrote as JSON."""
    known = {"seq", "received_at", "kind", "status", "user", "type", "request", "body", "index"}
    problems = tuple(
        Problem(one["pointer"], one["found"], one["expected"]) for one in fields["problems"]
    )
    return Arrival(**{name: fields[name] for name in known}, problems=problems)


def _tell(text: str) -> None:
    print(f"whisperr tail: {text}", file=sys.stderr, flush=True)


def _interrupted(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
