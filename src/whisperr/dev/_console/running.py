"""Finds a `whisperr dev` that already runs on a port of this machine.

Any program may listen on that port. It gets one request, with limits of time and size, and is used
only if it answers like the API of the local server. If the system tells the owner of the socket, a
server of another user is not used, because that user must not receive the events.
"""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisperr._platform import get_user_id
from whisperr.dev._web.api import PREFIX
from whisperr.dev._web.http import SERVER_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMEOUT = 3.0  # seconds for the whole answer
_MAX_ANSWER_BYTES = 4 * 1024 * 1024  # a summary has at most 1,000 names of 200 characters, twice
_COUNTS = ("accepted", "duplicates", "refused", "requests")
_LISTENS = "0A"  # TCP_LISTEN
REFUSED_KEYS = "refused_keys"


def get_url(port: int) -> str:
    """Return the address of a local server on a port."""
    return f"http://127.0.0.1:{port}"


def get_counts(port: int) -> dict[str, int] | None:
    """Return the counts of this user's `whisperr dev` on a port; None if there is none.

    The counts are `accepted`, `duplicates`, `refused`, `requests`, and refused keys.
    """
    with suppress(OSError, ValueError, RecursionError):
        if _is_of_another_user(port):
            return None
        head, _, body = _ask(port).partition(b"\r\n\r\n")
        status, *headers = head.decode("latin-1").split("\r\n")
        if " 200 " in status and f"Server: {SERVER_NAME}" in (line.rstrip() for line in headers):
            summary: Any = json.loads(body)
            if isinstance(summary, dict) and all(type(summary.get(n)) is int for n in _COUNTS):
                return _to_counts(summary)
    return None


def _is_of_another_user(port: int) -> bool:
    """Return whether only other users listen on a port; False if the system does not tell."""
    user = get_user_id()
    if user is None:
        return False
    try:
        table = Path("/proc/net/tcp").read_text(encoding="ascii")
    except OSError:  # not Linux
        return False
    owners = find_owners(table, port)
    return bool(owners) and user not in owners


def find_owners(table: str, port: int) -> set[int]:
    """Return the user ids of the sockets that listen on a port, from Linux's table of sockets."""
    owners = set()
    for line in table.splitlines()[1:]:
        _, local, _, state, _, _, _, owner, *_ = line.split()
        if state == _LISTENS and int(local.rpartition(":")[2], 16) == port:
            owners.add(int(owner))
    return owners


def _to_counts(summary: Mapping[str, Any]) -> dict[str, int]:
    """Return the counts in a summary: arrivals, requests, and refused keys."""
    answers = summary.get("answers")
    refused = answers.get("401") if isinstance(answers, dict) else None
    counts = {name: summary[name] for name in _COUNTS}
    return {**counts, REFUSED_KEYS: refused if type(refused) is int else 0}


def _ask(port: int) -> bytes:
    """Return the whole answer to a request for the summary; raises OSError."""
    deadline = time.monotonic() + _TIMEOUT
    request = f"GET {PREFIX}summary HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    answer = bytearray()
    with socket.create_connection(("127.0.0.1", port), _TIMEOUT) as connection:
        connection.sendall(request.encode())
        while len(answer) < _MAX_ANSWER_BYTES:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            connection.settimeout(remaining)
            data = connection.recv(64 * 1024)
            if not data:
                return bytes(answer)
            answer += data
    raise OSError("an answer that is too long")
