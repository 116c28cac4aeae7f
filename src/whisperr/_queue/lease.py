"""Beside step 3: who may deliver from a shared store, and until when.

Pure. A lease is written into the store by its holder: a token, and from when until when it holds
by the wall clock of the machine (SQLite) or of the server (Redis).
"""

from __future__ import annotations

# How long a lease lasts that nobody prolongs. More than the default `request_timeout`, so that
# an ordinary batch needs no second write.
LEASE = 15.0
SHORTEST_LEASE, LONGEST_LEASE = 1.0, 3_600.0
# Asking again while another process delivers: soon at first, then less and less often.
_FIRST_REST = 0.02
_LONGEST_REST = 0.5


class Lease:
    """One lease as it stands in the store; `token` is None when nobody holds it."""

    __slots__ = ("since", "token", "until")

    def __init__(self, token: int | None, since: float, until: float) -> None:
        self.token = token
        self.since = since
        self.until = until

    def seconds_left(self, mine: int, now: float) -> float:
        """Return for how long it keeps the holder of token `mine` out; 0 when it does not.

        A lease that begins in the future was written before the clock was set back: it holds
        nobody out, since nobody can say how long it was meant to last.
        """
        if self.token is None or self.token == mine or not self.since <= now < self.until:
            return 0.0
        return self.until - now


def get_lease_end(now: float, seconds: float, lease: float) -> float:
    """Return until when to prolong a lease for a request or a wait of so many seconds.

    A third of the lease comes on top: for writing down how the request ended.
    """
    return now + seconds + lease / 3


def get_rest(misses: int, seconds_left: float) -> float:
    """Return how long to wait before asking again, after `misses` times in vain."""
    return min(_FIRST_REST * 2.0 ** min(misses, 10), _LONGEST_REST, seconds_left)
