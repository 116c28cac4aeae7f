"""Waits until one of several sockets can be read or written; computes the rest of a deadline.

Uses `poll` where the system has it, because `select` refuses descriptors from 1024 up. Both are
looked up at each call, because gevent and eventlet replace them.
"""

from __future__ import annotations

import math
import select

from whisperr._process.real_clock import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from typing import Any

    Wanted = Mapping[socket.socket, int]

READ = 1
WRITE = 2
_POLLIN: int = getattr(select, "POLLIN", 0)
_POLLOUT: int = getattr(select, "POLLOUT", 0)
_SLICE = 0.1  # seconds, after which Ctrl-C ends a wait where `poll` is missing
_LONGEST_WAIT = 86_400.0  # seconds; `poll` takes milliseconds in 32 bits


def get_seconds_left(deadline: float) -> float:
    """Return the seconds until `deadline` (monotonic); raise TimeoutError if it has passed."""
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError("no complete answer within request_timeout")
    return left


def wait_ready(wanted: Wanted, timeout: float) -> dict[socket.socket, int]:
    """Return by socket which of READ and WRITE are possible; empty after `timeout` seconds.

    `wanted` has the flags to wait for by socket. A socket with an error gets both: the next call on
    it raises that error.
    """
    timeout = min(max(timeout, 0.0), _LONGEST_WAIT)
    make_poll: Callable[[], Any] | None = getattr(select, "poll", None)
    if make_poll is None:
        return _wait_in_slices(wanted, timeout)
    poller = make_poll()
    sockets = {}
    for one, flags in wanted.items():
        number = one.fileno()
        sockets[number] = one
        events = (_POLLIN if flags & READ else 0) | (_POLLOUT if flags & WRITE else 0)
        poller.register(number, events)
    return {
        sockets[number]: _to_flags(event)
        for number, event in poller.poll(math.ceil(timeout * 1000))
    }


def _to_flags(event: int) -> int:
    if event & ~(_POLLIN | _POLLOUT):  # an error or a hang-up
        return READ | WRITE
    return (READ if event & _POLLIN else 0) | (WRITE if event & _POLLOUT else 0)


def _wait_in_slices(wanted: Wanted, timeout: float) -> dict[socket.socket, int]:
    """Wait with `select`, which no Ctrl-C interrupts on Windows."""
    left = timeout  # counted down, not by a clock that tests replace
    while left > _SLICE:
        ready = _select(wanted, _SLICE)
        if ready:
            return ready
        left -= _SLICE
    return _select(wanted, left)


def _select(wanted: Wanted, timeout: float) -> dict[socket.socket, int]:
    """Wait with `select`; Windows reports a failed connection as an exceptional condition."""
    to_read = [one for one, flags in wanted.items() if flags & READ]
    to_write = [one for one, flags in wanted.items() if flags & WRITE]
    readable, writable, failed = select.select(to_read, to_write, to_write, timeout)
    ready = dict.fromkeys(failed, READ | WRITE)
    for one in readable:
        ready[one] = ready.get(one, 0) | READ
    for one in writable:
        ready[one] = ready.get(one, 0) | WRITE
    return ready
