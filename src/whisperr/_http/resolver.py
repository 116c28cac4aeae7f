"""Finds the addresses of a host within a time limit, which the system's resolver lacks.

`getaddrinfo` may hang for half a minute and cannot be interrupted, so it runs in a separate thread.
A lookup that is late goes on, and the next attempt waits for it, so there is at most one thread per
host. Addresses that were found are kept for when the resolver is late or unreachable, and for when
no thread can be started (Python 3.12 and later refuse while the interpreter shuts down).

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
_NO_NAME = "base_url or the proxy has no valid host name"


class LookUpTimeoutError(TimeoutError):
    """Raised when the resolver has not answered in time."""


class Resolver:
    """Resolves the names of hosts for one transport."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], Addresses] = {}
        self._lookups: dict[tuple[str, int], _Lookup] = {}

    def resolve(self, host: str, port: int, deadline: float) -> Addresses:
        """Return the addresses of a host by `deadline` (monotonic); raise OSError.

        If addresses are known, the resolver gets half of the time, and connecting to one of them
        the other half. A lookup that was late once is then not waited for again.
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
        """Return a lookup that still runs or a new one; None if no thread can be started."""
        lookup = self._lookups.get((host, port))
        if lookup is not None and not lookup.ended:
            return lookup
        if lookup is not None and lookup.addresses:  # it ended too late for the last attempt
            self._known[host, port] = lookup.addresses
        if sys.is_finalizing() or not is_main_interpreter():
            return None
        lookup = self._lookups[host, port] = _Lookup()
        try:
            # Not a `threading.Thread`: its `start` waits until the thread runs, which may be
            # forever while Python 3.11 exits.
            _thread.start_new_thread(lookup.run, (host, port))
        except RuntimeError:  # the interpreter shuts down, or the limit of threads is reached
            del self._lookups[host, port]
            return None
        return lookup


class _Lookup:
    """One call of the resolver, in its own thread."""

    __slots__ = ("_end", "_starter", "addresses", "ended", "error", "is_late")

    def __init__(self) -> None:
        self._end = WakeUp()
        self._starter = get_thread_id()
        self.addresses: Addresses = []
        self.error: Exception | None = None
        self.ended = False
        self.is_late = False  # whether a wait for it has timed out

    def run(self, host: str, port: int) -> None:
        """Resolve the name; runs in the lookup's thread."""
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
    """Return what a lookup found, or the known addresses if the resolver is unreachable."""
    error = lookup.error
    if error is None:
        if not lookup.addresses:
            raise OSError("the resolver found no address")
        return lookup.addresses
    if known and isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        return known
    if isinstance(error, RuntimeError):
        # gevent resolves in a system thread, and none can be started.
        return known or _resolve_here(host, port)
    raise error


def _resolve(host: str, port: int) -> Addresses:
    resolve = socket.getaddrinfo
    name: str | bytes = encode_host(host)
    if type(resolve) is not type(_resolve) or resolve.__globals__ is not vars(socket):
        name = host  # an application's replacement expects text
        _import_codec()
    try:
        return [*resolve(name, port, type=socket.SOCK_STREAM)]
    except UnicodeError:
        raise OSError(_NO_NAME) from None


def _resolve_here(host: str, port: int) -> Addresses:
    """Resolve in the calling thread, bypassing gevent; used if no thread can be started."""
    return [*_socket.getaddrinfo(encode_host(host), port, type=socket.SOCK_STREAM)]


def _resolve_numeric(host: str, port: int) -> Addresses | None:
    """Return the address if the host is a numeric one, without the resolver; else None."""
    if not host.isascii():
        return None
    try:
        flags = socket.AI_NUMERICHOST
        return [*_socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM, flags=flags)]
    except OSError:
        return None


def encode_host(host: str) -> bytes:
    """Return a host name as resolvers and certificates spell it; raise OSError if it is invalid.

    Given text, Python would import the IDNA codec and its megabyte of tables, which leaves a name
    in ASCII unchanged.
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
    """Import what Python would import itself, but guarded against a fork amid the import."""
    with first_use():
        import encodings.idna  # noqa: F401  # see above
