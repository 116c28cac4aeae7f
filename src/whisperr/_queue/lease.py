"""Leases: which process may deliver from a shared store, and until when.

Pure. The process that claims a batch writes its lease into the store: a token, and from when until
when the lease holds, by the wall clock of the machine (SQLite) or of the server (Redis, databases).
"""

from __future__ import annotations

# Seconds that a lease lasts unless it is extended. More than the default `request_timeout`, so that
# an ordinary batch needs no second write.
LEASE = 15.0
SHORTEST_LEASE, LONGEST_LEASE = 1.0, 3_600.0
# Seconds until the next claim while another process delivers: soon at first, then less often.
_FIRST_REST = 0.02
_LONGEST_REST = 0.5


class Lease:
    """One lease as it stands in the store; `token` is None when no process holds it."""

    __slots__ = ("since", "token", "until")

    def __init__(self, token: int | None, since: float, until: float) -> None:
        self.token = token
        self.since = since
        self.until = until

    def seconds_left(self, mine: int, now: float) -> float:
        """Return for how long the process with token `mine` may not claim; 0 when it may.

        A lease that begins in the future was written before the clock was set back. It does not
        count, since its real length is unknown.
        """
        if self.token is None or self.token == mine or not self.since <= now < self.until:
            return 0.0
        return self.until - now


def get_lease_end(now: float, seconds: float, lease: float) -> float:
    """Return until when to extend a lease for a request or a wait of so many seconds.

    A third of the lease is added: for writing down the result of the request.
    """
    return now + seconds + lease / 3


def get_rest(misses: int, seconds_left: float) -> float:
    """Return how long to wait before the next claim, after `misses` claims in vain."""
    return min(_FIRST_REST * 2.0 ** min(misses, 10), _LONGEST_REST, seconds_left)
