"""Several Redis servers behind one URL: a cluster, or a master that sentinels know.

A call sends a script to a server at most once; if no answer comes, the caller finds out whether it
ran. Another server is tried only if the first cannot be reached, or answers that it does not have
the key.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from whisperr._foreign import printable
from whisperr.errors import StoreError

from .connection import RedirectError, RedisConnection, UnreachableError, send
from .url import CLUSTER, SENTINEL, to_address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .connection import Connection
    from .url import Node, Server

# How often a cluster may redirect one call: while slots move, several redirects are normal.
_MOST_REDIRECTS = 4
# Servers are tried one after the other for this many times the limit of one call.
_MOST_TIMEOUTS = 2.0
_LONGEST_NAME = 255
_MOST_PORT = 65_535


def connect(server: Server, timeout: float) -> Connection:
    """Return a connection to the servers of a URL; it opens on first use."""
    if server.kind == CLUSTER:
        return ClusterConnection(server, timeout)
    return (SentinelConnection if server.kind == SENTINEL else RedisConnection)(server, timeout)


class SentinelConnection(RedisConnection):
    """A connection to the master of a service; each time it opens, it asks a sentinel for it.

    `RedisConnection` closes the connection after any error, so also after the errors of a server
    that has become a replica, is loading its data, or has lost its master.
    """

    def __init__(self, server: Server, timeout: float) -> None:
        super().__init__(server, timeout)
        self._sentinels = deque(server.nodes)  # the one that last answered is first

    def make_another(self) -> SentinelConnection:
        """Return a second connection to the same service, to be used at the same time."""
        return SentinelConnection(self._server, self._timeout)

    def _open(self) -> Any:  # noqa: ANN401  # of redis-py
        deadline = time.monotonic() + _MOST_TIMEOUTS * self._timeout
        for _ in range(len(self._sentinels)):
            try:
                return self._open_master(self._sentinels[0])
            except UnreachableError as error:
                problem = str(error)
            self._sentinels.rotate(-1)  # ask this one last
            if time.monotonic() >= deadline:
                break
        name = f"{self._server.address} has no master of {self._server.service!r}"
        raise UnreachableError(f"{name}: {problem}")

    def _open_master(self, sentinel: Node) -> Any:  # noqa: ANN401  # of redis-py
        """Return a connection to the master that a sentinel names."""
        master = self._find_master(sentinel)
        connection = self._connect(master)
        role = self._get_role(connection)
        if role in (b"slave", b"sentinel"):
            connection.disconnect()
            raise UnreachableError(f"{to_address(master)} is not a master but a {role.decode()}")
        return connection

    def _find_master(self, sentinel: Node) -> Node:
        """Return the master that a sentinel names."""
        words = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._server.service)
        try:
            found = self._ask_sentinel(sentinel, *words, credential_provider=None)
        except StoreError as error:
            if not self._server.has_password or "uthentication" not in str(error):
                raise UnreachableError(str(error)) from None
            found = self._ask_sentinel(sentinel, *words)
        name = to_address(sentinel)
        if found is None:
            raise UnreachableError(f"the sentinel {name} does not know this service")
        master = parse_node(*found) if isinstance(found, list) and len(found) == 2 else None  # noqa: PLR2004  # host and port
        if master is None:
            raise UnreachableError(f"the sentinel {name} returned an invalid address")
        return master

    def _ask_sentinel(self, sentinel: Node, *words: str, **options: object) -> Any:  # noqa: ANN401  # as many shapes as commands
        connection = self._connect(sentinel, db=0, **options)
        try:
            return self._guard(lambda: send(connection, *words))
        finally:
            connection.disconnect()

    def _get_role(self, connection: Any) -> bytes:  # noqa: ANN401  # of redis-py
        """Return the role of a server; b"" if this user may not run ROLE."""
        try:
            role = self._guard(lambda: send(connection, "ROLE"))
        except StoreError as error:
            connection.disconnect()
            if "ermission" in str(error):
                self._guard(connection.connect)
                return b""
            raise UnreachableError(str(error)) from None
        except BaseException:
            connection.disconnect()
            raise
        return role[0] if isinstance(role, list) and isinstance(role[:1], list) and role else b""


class ClusterConnection:
    """Connections to the servers of a cluster, one to each that has a stream of ours.

    It learns where a stream is from redirects: a server that does not have it names the one that
    does.
    """

    def __init__(self, server: Server, timeout: float) -> None:
        self._server = server
        self._timeout = timeout
        self._connections: dict[Node, RedisConnection] = {}
        self._owners: dict[str, Node] = {}  # by key, the server that last had it
        self._nodes = deque(server.nodes)  # the next one to try for an unknown key is first

    def make_another(self) -> ClusterConnection:
        """Return second connections to the same cluster, to be used at the same time."""
        return ClusterConnection(self._server, self._timeout)

    def run(self, script: str, keys: Sequence[str], values: Sequence[object]) -> Any:  # noqa: ANN401  # as many shapes as scripts
        """Run a script on the server that has the keys."""

        def run(node: RedisConnection, before: str) -> Any:  # noqa: ANN401  # likewise
            return node.use(lambda one: node.evaluate(one, script, keys, values, before))

        return self._follow(keys[0], run)

    def ask(self, *words: object) -> Any:  # noqa: ANN401  # as many shapes as commands
        """Send one command, whose second word is its key, and return the answer."""

        def ask(node: RedisConnection, before: str) -> Any:  # noqa: ANN401  # likewise
            def act(connection: Any) -> Any:  # noqa: ANN401  # of redis-py
                if before:
                    send(connection, before)
                return send(connection, *words)

            return node.use(act)

        return self._follow(str(words[1]) if len(words) > 1 else "", ask)

    def close(self) -> None:
        """Close all connections; the next call opens those that it needs."""
        for connection in [*self._connections.values()]:
            connection.close()

    def _follow(self, key: str, act: Callable[[RedisConnection, str], Any]) -> Any:  # noqa: ANN401  # as `act` returns
        """Call `act` with a connection to the server that has a key, following redirects."""
        owner, before = self._owners.get(key), ""
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._try(owner, before, key, act) if owner else self._try_all(key, act)
            if not isinstance(answer, RedirectError):
                return answer
            owner = self._parse_target(answer)
            before = "ASKING" if answer.is_once else ""
            if not answer.is_once:
                self._owners[key] = owner
        raise StoreError(f"{self._server.address} redirected a call too often")

    def _try_all(self, key: str, act: Callable[[RedisConnection, str], Any]) -> Any:  # noqa: ANN401  # as `act` returns
        """Call `act` with the first reachable server of the URL; return its result or redirect."""
        deadline = time.monotonic() + _MOST_TIMEOUTS * self._timeout
        for _ in range(len(self._nodes)):
            node = self._nodes[0]
            try:
                answer = self._try(node, "", key, act)
            except UnreachableError as error:
                problem = str(error)
                self._nodes.rotate(-1)  # try this one last
                if time.monotonic() >= deadline:
                    break
                continue
            if not isinstance(answer, RedirectError):
                self._owners[key] = node
            return answer
        raise UnreachableError(problem)

    def _try(
        self, node: Node, before: str, key: str, act: Callable[[RedisConnection, str], Any]
    ) -> Any:  # noqa: ANN401  # as `act` returns
        try:
            return act(self._get_connection(node), before)
        except RedirectError as error:
            error.sender = node
            return error
        except StoreError:
            # Another server may have taken over; the next call tries the others.
            self._owners.pop(key, None)
            raise

    def _parse_target(self, error: RedirectError) -> Node:
        """Return the server that a redirect names: `<slot> <host>:<port>`."""
        host, _, port = error.target.rpartition(" ")[2].rpartition(":")
        if not host and error.sender is not None:  # the host that sent the redirect
            host = error.sender[0]
        target = parse_node(host, port)
        if target is None:
            raise StoreError(f"{self._server.address} redirected to an invalid address ({error})")
        return target

    def _get_connection(self, node: Node) -> RedisConnection:
        found = self._connections.get(node)
        if found is None:
            found = RedisConnection(self._server._replace(nodes=(node,)), self._timeout)
            self._connections[node] = found
        return found


def parse_node(host: object, port: object) -> Node | None:
    """Return the host and port that a server sent; None if they are invalid."""
    name, digits = (
        one.decode("ascii", "replace") if isinstance(one, bytes) else one for one in (host, port)
    )
    if not isinstance(name, str) or not isinstance(digits, str):
        return None
    is_name = 0 < len(name) <= _LONGEST_NAME and printable(name, _LONGEST_NAME) == name
    is_port = digits.isascii() and digits.isdecimal() and 0 < int(digits[:6]) <= _MOST_PORT
    return (name, int(digits)) if is_name and " " not in name and is_port else None
