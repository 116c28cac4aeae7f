"""Opens connections to a host that may have several addresses, some of which do not answer.

Follows RFC 8305: the next address is tried once the one before has failed or has not answered for
a moment, and the first to answer is used. One deadline covers all attempts.

Threads: used by one thread at a time.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from itertools import zip_longest

from whisperr._process.interruption import is_interruption

from .readiness import WRITE, get_seconds_left, wait_ready
from .resolver import Resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Address = tuple[Any, ...]

# Seconds until the next address is tried as well: the delay that RFC 8305, 5, recommends.
_DELAY = 0.25
_IN_PROGRESS = (0, errno.EINPROGRESS, errno.EWOULDBLOCK)
_SO_NOSIGPIPE = 0x1022  # macOS; Python has no name for it


class Connector:
    """Opens connections, and remembers which addresses did not answer."""

    def __init__(self) -> None:
        self._resolver = Resolver()
        self._unresponsive: set[Address | None] = set()

    def connect(self, host: str, port: int, deadline: float) -> socket.socket:
        """Return a connected non-blocking socket by `deadline` (monotonic); raise OSError.

        Addresses that failed or were too slow are tried last the next time.
        """
        return self.connect_to(self._resolver.resolve(host, port, deadline), deadline)

    def connect_to(self, addresses: list[Address], deadline: float) -> socket.socket:
        """Do the same for known addresses, as `getaddrinfo` returns them."""
        found = _interleave(addresses)
        found.sort(key=lambda one: one[4] in self._unresponsive)
        race = _Race(found, deadline)
        try:
            winner = race.run()
        except OSError:
            self._unresponsive = set()  # none is better than another
            raise
        finally:
            race.close()
        self._unresponsive |= race.tried
        self._unresponsive.discard(race.won)
        return winner


class _Race:
    """Competing attempts to connect to the addresses of one host."""

    def __init__(self, addresses: list[Address], deadline: float) -> None:
        self._left = addresses[::-1]  # the next one is the last
        self._deadline = deadline
        # A short deadline must leave time for each address.
        self._delay = min(_DELAY, get_seconds_left(deadline) / len(addresses))
        self._open: dict[socket.socket, Address] = {}
        self._failure: OSError | None = None
        self.tried: set[Address] = set()
        self.won: Address | None = None

    def run(self) -> socket.socket:
        """Return the first connection; raise the last failure, or TimeoutError."""
        while True:
            if self._left:
                self._start(self._left.pop())
            if not self._open:
                if self._left:
                    continue
                raise self._failure or OSError("the host has no address")
            # Paced by the length of each wait, not by a clock, which tests may freeze.
            left = get_seconds_left(self._deadline)
            wanted = dict.fromkeys(self._open, WRITE)
            ready = wait_ready(wanted, min(self._delay, left) if self._left else left)
            if not ready and not self._left:
                raise TimeoutError("no connection within request_timeout")
            winner = self._find_connected(ready)
            if winner is not None:
                return winner

    def close(self) -> None:
        """Close all sockets but the winner."""
        while self._open:
            self._open.popitem()[0].close()

    def _start(self, address: Address) -> None:
        family, kind, protocol, _, endpoint = address
        self.tried.add(endpoint)
        try:
            one = socket.socket(family, kind, protocol)
        except OSError as error:
            if is_interruption(error):
                raise
            self._failure = error
            return
        self._open[one] = endpoint
        one.settimeout(0.0)
        self._check(one, one.connect_ex(endpoint), _IN_PROGRESS)

    def _find_connected(self, ready: Iterable[socket.socket]) -> socket.socket | None:
        for one in ready:
            if self._check(one, one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), (0,)):
                return self._finish(one)
        return None

    def _check(self, one: socket.socket, code: int, fine: tuple[int, ...]) -> bool:
        """Return whether the code is fine; else record the failure and close the socket."""
        if code in fine:
            return True
        self._failure = OSError(code, _get_text(code))
        del self._open[one]
        one.close()
        return False

    def _finish(self, winner: socket.socket) -> socket.socket:
        winner.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sys.platform == "darwin":  # a closed connection must not end the process
            winner.setsockopt(socket.SOL_SOCKET, _SO_NOSIGPIPE, 1)
        self.won = self._open.pop(winner)
        return winner


def _get_text(code: int) -> str:
    """Return the text of a socket error, which `os.strerror` does not know on Windows."""
    known: dict[int, str] = getattr(socket, "errorTab", {})
    return known.get(code, "").rstrip(".") or os.strerror(code)


def _interleave(addresses: list[Address]) -> list[Address]:
    """Return the addresses alternating between families, beginning with that of the first."""
    families: dict[int, list[Address]] = {}
    for one in addresses:
        families.setdefault(one[0], []).append(one)
    rows = zip_longest(*families.values())
    return [one for row in rows for one in row if one is not None]
