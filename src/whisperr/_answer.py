"""Step 7, its second half: read one answer, under one deadline and within a bound.

Threads: used by the one that drives the worker.
"""

from __future__ import annotations

import io
import time
from contextlib import closing
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import TYPE_CHECKING

from ._wire import Answer

if TYPE_CHECKING:
    import socket

# More than any documented answer; what is longer is not read, and the connection not kept.
_MAX_ANSWER_BYTES = 64 * 1024


def left_until(deadline: float) -> float:
    """Return the seconds left until `deadline` (monotonic); raises TimeoutError when it is over."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no complete answer within request_timeout")
    return left


def read_answer(
    connection: socket.socket,
    deadline: float,
    method: str,
    instead_of: OSError | None = None,
) -> tuple[Answer, bool]:
    """Read one answer; also say whether the connection can be used again.

    Raises `instead_of` when there is no answer to read.
    """
    try:
        with closing(_begun(_AnswerBytes(connection, deadline), method)) as response:
            if method == "CONNECT":
                return Answer(response.status), True
            body = response.read(_MAX_ANSWER_BYTES)
            if response.length and len(body) < _MAX_ANSWER_BYTES:
                raise IncompleteRead(body, response.length)
            headers = {name.lower(): value for name, value in response.getheaders()}
            reusable = response.isclosed() and not response.will_close
            return Answer(response.status, headers, body), reusable
    except (OSError, HTTPException):
        if instead_of is not None:
            raise instead_of from None
        raise


def _begun(incoming: _AnswerBytes, method: str) -> HTTPResponse:
    """Return the answer with its head read; those before it, 102 and 103, only announce it."""
    while True:
        # The class asks for a socket and only calls its `makefile`.
        response = HTTPResponse(incoming, method=method)  # type: ignore[arg-type]
        try:
            response.begin()
        except BaseException:
            response.close()
            raise
        if not 101 < response.status < 200:  # noqa: PLR2004  # 102 to 199
            return response
        response.close()


class _AnswerBytes(io.RawIOBase):
    """The bytes of one answer, read under one deadline for all of them, not one per `recv`."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._file = _Shared(self)

    def readable(self) -> bool:
        return True

    def readinto(self, target: object) -> int:
        self._connection.settimeout(left_until(self._deadline))
        return self._connection.recv_into(target)  # type: ignore[arg-type]  # a writable buffer

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return the file that HTTPResponse asks a socket for."""
        return self._file


class _Shared(io.BufferedReader):
    """A file that stays open when one who reads it is done: after a 103 the answer follows."""

    def close(self) -> None:
        """Do nothing: there is nothing to free but memory."""
