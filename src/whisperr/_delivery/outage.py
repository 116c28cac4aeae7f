"""Whether a service is known to be away: one memory for all clients and for forked processes.

A shutdown retries for as long as it may, because the service may be back in a moment. Where it has
been away for a while, that costs the same seconds at the end of each client and of each process, as
with a process for each task. Then one failed attempt, and a short one, is enough.

The memory is shared by the clients of one address, and by processes that were forked after the
first of them was made. Threads and processes write it without a lock: each number is written in one
piece, and an attempt that is forgotten changes little.
"""

from __future__ import annotations

from whisperr._process.imports import first_use

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableSequence
    from typing import Any

# Not longer than the shortest time for which a shutdown of 10 seconds retries (half of 1, 2 and 4):
# one that has failed is enough for those that follow.
_KNOWN_AFTER = 3.0
# Longer than the longest pause between two attempts, which follows a give-up.
_FORGOTTEN_AFTER = 90.0
LAST_ATTEMPT = 2.0  # seconds for the one attempt at a service that is known to be away

_SERVER_ERROR = 500

_SINCE, _LAST = 0, 1

_outages: dict[str, Outage] = {}


class Outage:
    """Since when all attempts at one service have failed, and when the last one did (monotonic)."""

    __slots__ = ("_times",)

    def __init__(self, times: MutableSequence[float] | None = None) -> None:
        self._times: MutableSequence[float] = [0.0, 0.0] if times is None else times

    def note(self, status: int | None, now: float) -> None:
        """Take in how an attempt ended: with a status, or with None because no answer came."""
        if status is not None and status < _SERVER_ERROR:
            self._times[_SINCE] = 0.0
            return
        if not self._times[_SINCE] or now - self._times[_LAST] > _FORGOTTEN_AFTER:
            self._times[_SINCE] = now
        self._times[_LAST] = now

    def is_known(self, at: float) -> bool:
        """Return whether at this moment the service had been away for a while."""
        since, last = self._times
        return bool(since) and since + _KNOWN_AFTER <= at <= last + _FORGOTTEN_AFTER


def get_outage(base_url: str) -> Outage:
    """Return what is known of the service at an address."""
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
