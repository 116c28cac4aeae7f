"""Parses the URLs of Redis servers; the URL itself stays wrapped, because of its password. Pure.

    redis://[user:password@]host[:port][/database]
    redis+sentinel://[user:password@]host[:port][,host[:port]...]/service[/database]
    redis+cluster://[user:password@]host[:port][,host[:port]...]

`rediss` instead of `redis` uses TLS to all of the servers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from whisperr._secret import Secret

    Node = tuple[str, int]

SERVER, SENTINEL, CLUSTER = "", "sentinel", "cluster"
SCHEMES = tuple(
    f"{tls}{kind}" for tls in ("redis", "rediss") for kind in ("", "+sentinel", "+cluster")
)
_PORTS = {SERVER: 6379, SENTINEL: 26379, CLUSTER: 6379}
_MOST_DIGITS = 9
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}")
_SERVICE = re.compile(r"[A-Za-z0-9_.-]{1,100}")


class Server(NamedTuple):
    """A parsed Redis URL; only `url` contains the user and the password.

    `nodes`: the server, or the sentinels of `service`, or some servers of a cluster.
    """

    url: Secret
    kind: str
    nodes: tuple[Node, ...]
    service: str
    database: int
    has_tls: bool
    has_password: bool

    @property
    def host(self) -> str:
        return self.nodes[0][0]

    @property
    def port(self) -> int:
        return self.nodes[0][1]

    @property
    def address(self) -> str:
        """The URL without user and password."""
        scheme = "rediss" if self.has_tls else "redis"
        nodes = ",".join(to_address(node) for node in self.nodes)
        if self.kind == CLUSTER:
            return f"{scheme}+cluster://{nodes}"
        if self.kind == SENTINEL:
            return f"{scheme}+sentinel://{nodes}/{self.service}/{self.database}"
        return f"{scheme}://{nodes}/{self.database}"


def to_address(node: Node) -> str:
    """Return host and port in the form of a URL."""
    host, port = node
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_server(url: Secret) -> Server | None:
    """Return the parsed URL; None if it is not valid. Never raises."""
    try:
        parts = urlsplit(url.reveal())
        scheme, _, kind = parts.scheme.partition("+")
        if parts.scheme not in SCHEMES or parts.query or parts.fragment:
            return None
        nodes = tuple(_parse_node(one, kind) for one in parts.netloc.rpartition("@")[2].split(","))
    except ValueError:
        return None
    way = parts.path.strip("/").split("/")
    service = way.pop(0) if kind == SENTINEL else ""
    database = "/".join(way) or "0"
    is_valid = database.isdecimal() and database.isascii() and len(database) <= _MOST_DIGITS
    if (
        not is_valid
        or (kind == SERVER and len(nodes) > 1)
        or (kind == SENTINEL and not _SERVICE.fullmatch(service))
        or (kind == CLUSTER and int(database))
    ):
        return None
    has_password = "@" in parts.netloc
    return Server(url, kind, nodes, service, int(database), scheme == "rediss", has_password)


def _parse_node(text: str, kind: str) -> Node:
    """Return host and port; raise ValueError without a host."""
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.path:
        raise ValueError("no host")
    return unquote(parts.hostname), parts.port or _PORTS[kind]


def refuse_scheme(url: Secret) -> str:
    """Return the start of the error about a URL that names no buffer; it shows only the scheme."""
    scheme, found, _ = url.reveal().partition("://")
    if not found or _SCHEME.fullmatch(scheme) is None:
        return "must be a URL, "
    from difflib import get_close_matches

    near = get_close_matches(scheme.lower(), ("sqlite", *SCHEMES), n=1)
    meant = f"; did you mean {near[0]}://?" if near else "."
    return f"must be a URL of a known scheme, not {scheme}://{meant} Write it "


def get_credentials(url: Secret) -> tuple[str, ...]:
    """Return the arguments of AUTH: user and password, or the password alone."""
    parts = urlsplit(url.reveal())
    password = unquote(parts.password or "")
    return (unquote(parts.username), password) if parts.username else (password,)
