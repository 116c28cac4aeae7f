"""Finds the addresses of a host within a time limit, although the resolver of the system has none.

`getaddrinfo` may hang for half a minute, and nothing can interrupt it. So it runs in a thread of
its own, for which the caller waits; a lookup that is late goes on, and the next attempt waits for
the same one: there is at most one such thread for each host. Addresses that were found are kept
for when the resolver is late or away, and for where no thread can be started (Python 3.12 and
later start none while the interpreter shuts down).

Threads: used by one thread at a time; a lookup only sets its own attributes.
"""

from __future__ import annotations

import _socket
import _thread
import socket
import sys

from whisperr._process.identity import is_main_interpreter
from whisperr._process.imports import first_use
from whisperr._process.signals import block_in_this_thread, get_thread_id
from whisperr._process.wake_up import WakeUp

from .readiness import get_seconds_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Addresses = list[tuple[Any, ...]]  # as `getaddrinfo` returns them

_LONGEST_LABEL = 63  # RFC 1035, 2.3.4
_NO_NAME = "base_url or a proxy: not the name of a host"


class LookUpTimeoutError(TimeoutError):
    """Raised when the resolver has not answered in time."""


class Resolver:
    """Resolves the names of hosts for one transport."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], Addresses] = {}
        self._lookups: dict[tuple[str, int], _Lookup] = {}

    def resolve(self, host: str, port: int, deadline: float) -> Addresses:
        """Return the addresses of a host by `deadline` (monotonic); raises OSError.

        Half of the time is for the resolver when addresses are known: the other half is for
        connecting to one of them. A lookup that was late once is not waited for again then.
        """
        left = get_seconds_left(deadline)
        numeric = _resolve_numeric(host, port)
        if numeric is not None:
            return numeric
        known = self._known.get((host, port))
        lookup = self._get_lookup(host, port)
        if lookup is None:
            found = known or _resolve_here(host, port)
        elif not lookup.wait(left if not known else 0.0 if lookup.is_late else left / 2):
            lookup.is_late = True
            if not known:
                raise LookUpTimeoutError("the host name was not resolved within request_timeout")
            return known
        else:
            self._lookups.pop((host, port), None)
            found = _get_found(lookup, known, host, port)
        self._known[host, port] = found
        return found

    def _get_lookup(self, host: str, port: int) -> _Lookup | None:
        """Return the lookup to wait for: one that still runs, or a new one; None: no thread."""
        lookup = self._lookups.get((host, port))
        if lookup is not None and not lookup.ended:
            return lookup
        if lookup is not None and lookup.addresses:  # it ended too late for the one before
            self._known[host, port] = lookup.addresses
        if sys.is_finalizing() or not is_main_interpreter():
            return None
        lookup = self._lookups[host, port] = _Lookup()
        try:
            # Not a `threading.Thread`, whose `start` waits until the thread runs: at the exit of
            # Python 3.11 that may be for ever.
            _thread.start_new_thread(lookup.run, (host, port))
        except RuntimeError:  # the interpreter shuts down, or the limit of threads is reached
            del self._lookups[host, port]
            return None
        return lookup


class _Lookup:
    """One call of the resolver, in a thread of its own."""

    __slots__ = ("_end", "_starter", "addresses", "ended", "error", "is_late")

    def __init__(self) -> None:
        self._end = WakeUp()
        self._starter = get_thread_id()
        self.addresses: Addresses = []
        self.error: Exception | None = None
        self.ended = False
        self.is_late = False  # whether a wait for it has timed out

    def run(self, host: str, port: int) -> None:
        """Resolve the name. In the thread of the lookup."""
        try:
            block_in_this_thread(self._starter)
            self.addresses = _resolve(host, port)
        except Exception as error:  # noqa: BLE001  # raised again where it is waited for
            self.error = error
        finally:
            self.ended = True
            self._end.set()

    def wait(self, timeout: float) -> bool:
        """Return whether the lookup has ended within `timeout` seconds."""
        return self.ended or self._end.wait(timeout)


def _get_found(lookup: _Lookup, known: Addresses | None, host: str, port: int) -> Addresses:
    """Return what a lookup found; what was known before when the resolver is away for a moment."""
    error = lookup.error
    if error is None:
        if not lookup.addresses:
            raise OSError("the resolver found no address")
        return lookup.addresses
    if known and isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        return known
    if isinstance(error, RuntimeError):
        # gevent resolves in a thread of the system, and none can be started.
        return known or _resolve_here(host, port)
    raise error


def _resolve(host: str, port: int) -> Addresses:
    resolve = socket.getaddrinfo
    name: str | bytes = encode_host(host)
    if type(resolve) is not type(_resolve) or resolve.__globals__ is not vars(socket):
        name = host  # what an application puts in its place expects text
        _import_codec()
    try:
        return [*resolve(name, port, type=socket.SOCK_STREAM)]
    except UnicodeError:
        raise OSError(_NO_NAME) from None


def _resolve_here(host: str, port: int) -> Addresses:
    """Resolve in the calling thread, past gevent: the only way where no thread can be started."""
    return [*_socket.getaddrinfo(encode_host(host), port, type=socket.SOCK_STREAM)]


def _resolve_numeric(host: str, port: int) -> Addresses | None:
    """Return the address when the host is one, without asking the resolver."""
    if not host.isascii():
        return None
    try:
        flags = socket.AI_NUMERICHOST
        return [*_socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM, flags=flags)]
    except OSError:
        return None


def encode_host(host: str) -> bytes:
    """Return the name of a host as resolvers and certificates have it. Raises OSError for no name.

    Given text, Python imports a codec for the scripts of the world, and its tables of a megabyte;
    a name in ASCII it leaves as it is.
    """
    if host.isascii():
        labels = host.removesuffix(".").split(".")
        if not all(0 < len(label) <= _LONGEST_LABEL for label in labels):
            raise OSError(_NO_NAME)
        return host.encode()
    _import_codec()
    try:
        return host.encode("idna")
    except UnicodeError:
        raise OSError(_NO_NAME) from None


def _import_codec() -> None:
    """Import what Python would import by itself, where a fork could cut the import in half."""
    with first_use():
        import encodings.idna  # noqa: F401  # see above
