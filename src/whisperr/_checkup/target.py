"""The target of a check, to which it connects with the code of the client."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from whisperr._http.connection import Connection
from whisperr._http.connector import Connector
from whisperr._http.proxy import Proxy, request_tunnel

from .findings import to_milliseconds

if TYPE_CHECKING:
    from typing import Any

    Addresses = list[tuple[Any, ...]]

_OK = 200


class Target(NamedTuple):
    """The service, and what to connect to: the service itself or a proxy.

    - `server`: its host name, without the final dot that disables search domains.
    - `address`: its host and port, as in a CONNECT request to a proxy.
    - `host`, `port`: what to connect to. `timeout`: seconds for each step.
    """

    scheme: str
    server: str
    address: str
    host: str
    port: int
    proxy: Proxy | None
    timeout: float

    @property
    def deadline(self) -> float:
        """The time limit of a step that begins now (monotonic clock, seconds)."""
        return time.monotonic() + self.timeout

    @property
    def next_hop(self) -> str:
        """The name and port of what to connect to."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{name}:{self.port}"

    def connect(self, addresses: Addresses) -> tuple[Connection, str]:
        """Return a connection to one of the addresses, and that address; raises OSError."""
        opened = Connector().connect_to(addresses, self.deadline)
        try:
            peer = str(opened.getpeername()[0])
        except BaseException:
            opened.close()
            raise
        return Connection(opened), peer

    def ask_for_tunnel(self, connection: Connection) -> int:
        """Return the status of the proxy's answer; 200 without a proxy. Raises OSError."""
        if self.proxy is None or self.scheme == "http":
            return _OK
        return request_tunnel(connection, self.proxy, self.address, self.deadline)


def describe(error: OSError) -> str:
    """Return the text of an error of the operating system."""
    return str(error.strerror or error) or type(error).__name__


def took(began: float) -> str:
    """Return how long a step took, as the end of its text."""
    return f" ({to_milliseconds(time.monotonic() - began)})"
