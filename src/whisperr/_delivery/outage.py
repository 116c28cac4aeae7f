"""Remembers whether a service is down, for all clients of a process and for forked processes.

A shutdown retries until its timeout, because the service may be back in a moment. If the service
has been down for a while, that would delay the end of every client and every process, which adds up
with one process per task. Then one short attempt is enough.

The memory is shared by the clients of one address, and by processes forked after the first of them
was created. Threads and processes write it without a lock: each number is written atomically, and a
lost update does little harm.
"""

from __future__ import annotations

from whisperr._process.imports import first_use

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableSequence
    from typing import Any

# No longer than the shortest time for which a shutdown of 10 seconds retries (half of 1, 2 and 4
# seconds), so that one failed shutdown is enough for those that follow.
_KNOWN_AFTER = 3.0
# Longer than the longest pause between two attempts, which follows a give-up.
_FORGOTTEN_AFTER = 90.0
LAST_ATTEMPT = 2.0  # seconds for the only attempt if the service is known to be down

_SERVER_ERROR = 500

_SINCE, _LAST = 0, 1

_outages: dict[str, Outage] = {}


class Outage:
    """When attempts to reach one service began to fail, and when the last one did (monotonic)."""

    __slots__ = ("_times",)

    def __init__(self, times: MutableSequence[float] | None = None) -> None:
        self._times: MutableSequence[float] = [0.0, 0.0] if times is None else times

    def note(self, status: int | None, now: float) -> None:
        """Note the status of an attempt; None if no answer came."""
        if status is not None and status < _SERVER_ERROR:
            self._times[_SINCE] = 0.0
            return
        if not self._times[_SINCE] or now - self._times[_LAST] > _FORGOTTEN_AFTER:
            self._times[_SINCE] = now
        self._times[_LAST] = now

    def is_known(self, at: float) -> bool:
        """Return whether at this moment the service had been down for a while."""
        since, last = self._times
        return bool(since) and since + _KNOWN_AFTER <= at <= last + _FORGOTTEN_AFTER


def get_outage(base_url: str) -> Outage:
    """Return the shared outage of the service at an address."""
    return _outages.get(base_url) or _outages.setdefault(base_url, Outage(_make_times()))


def _make_times() -> MutableSequence[float] | None:
    """Return two numbers that forked processes share; None where memory cannot be shared."""
    try:
        with first_use():
            from mmap import PAGESIZE, mmap
        page = memoryview(mmap(-1, PAGESIZE))
    except (ImportError, OSError):
        return None
    times: Any = page.cast("d")[:2]
    return times  # type: ignore[no-any-return]  # mypy does not take a view for a sequence
