"""Durable buffers: `buffer=` takes one of these, or the URL that stands for it.

    Whisperr(buffer="sqlite:////var/lib/app/events.db")
    Whisperr(buffer=SQLiteBuffer("/var/lib/app/events.db"))

They describe a place. Each process that uses a client opens it for itself. Which one to choose,
and what each promises: docs/durability.md.
"""

from __future__ import annotations

import re
from os import fspath
from pathlib import Path

from ._frozen import Frozen
from ._lease import LEASE, LONGEST_LEASE, SHORTEST_LEASE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike
    from typing import Any, Literal, Protocol

    from .protocols import Buffer

    class Place(Protocol):
        """Where events are kept."""

        def open(self, max_events: int, max_bytes: int) -> Buffer: ...


__all__ = ["SQLiteBuffer", "buffer_of"]

_HINT = "such as sqlite:////var/lib/app/events.db (absolute) or sqlite:///events.db (relative)"


class SQLiteBuffer(Frozen):
    """A file that the processes of one machine share; what is in it survives all of them.

    - `path`: the file; its directory must exist. It is made with mode 0600. Not on a network
      file system: the locks of SQLite do not work there.
    - `synchronous`: `"NORMAL"` survives the end of any process, `"FULL"` also the loss of power,
      for a write to the disk in every `track()`.
    - `lease`: seconds after which another process takes over from one that died while it
      delivered, from 1 to 3600. A longer request or wait prolongs it for itself.

    Raises ValueError for a wrong value.
    """

    __slots__ = ("lease", "path", "synchronous")

    path: str
    synchronous: Literal["NORMAL", "FULL"]
    lease: float

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        lease: float = LEASE,
    ) -> None:
        if synchronous not in ("NORMAL", "FULL"):
            raise ValueError(f"synchronous={synchronous!r}: must be NORMAL or FULL")
        if not fspath(path) or "\0" in fspath(path):
            raise ValueError("path: must be the path of a file")
        # Absolute from now on: the process may change its directory.
        self._set(path=str(Path(path).absolute()), synchronous=synchronous)
        self._set(lease=_seconds(lease))

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self._fields())

    def open(self, max_events: int, max_bytes: int) -> Buffer:
        """Return the buffer of this process; the client calls it."""
        from ._durable import DurableBuffer
        from ._sqlite import SQLiteStore

        store = SQLiteStore(self.path, self.synchronous, self.lease, max_events, max_bytes)
        return DurableBuffer(store, max_events, max_bytes)


def _again(kind: type[Any], fields: dict[str, Any]) -> Any:  # noqa: ANN401  # for `pickle`
    return kind(**fields)


def buffer_of(url: str) -> Place:
    """Return the place that a URL stands for. Raises ValueError that says how to write it."""
    scheme, colon, rest = url.partition("://")
    if scheme == "sqlite" and colon:
        return _sqlite_of(rest)
    raise ValueError(f"buffer: must be a URL {_HINT}")


def _sqlite_of(rest: str) -> SQLiteBuffer:
    from urllib.parse import unquote

    path, _, query = rest.partition("?")
    if not path.startswith("/") or path == "/":
        raise ValueError(f"buffer: three slashes, then the path, {_HINT}")
    options = options_of(query, {"synchronous", "lease"})
    return SQLiteBuffer(unquote(path[1:]), **options)


def options_of(query: str, known: set[str]) -> dict[str, Any]:
    """Return the options of a URL; numbers become numbers. Raises ValueError for unknown ones."""
    from urllib.parse import parse_qsl

    options: dict[str, Any] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ValueError(f"buffer: {query!r} is not name=value, joined by &") from None
    for name, value in pairs:
        if name not in known:
            allowed = ", ".join(sorted(known))
            raise ValueError(f"buffer: unknown option {name!r}; allowed: {allowed}")
        options[name] = float(value) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value) else value
    return options


def _seconds(lease: object) -> float:
    ok = isinstance(lease, (int, float)) and not isinstance(lease, bool)
    if not ok or not SHORTEST_LEASE <= float(str(lease)) <= LONGEST_LEASE:
        raise ValueError(
            f"lease={lease!r}: must be from {SHORTEST_LEASE:g} to {LONGEST_LEASE:g} seconds"
        )
    return float(str(lease))
