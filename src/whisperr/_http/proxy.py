"""Finds the proxy that the environment names for an address; asks it for a tunnel.

The URL of a proxy may have a password: no error repeats a piece of it, and it stands in no variable
of a frame that an error passes through.
"""

from __future__ import annotations

import os

from whisperr._address import LOOPBACK
from whisperr._contract import Misconfigured
from whisperr._process.imports import first_use
from whisperr._secret import Secret

from .response import begins_answer, read_answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .connection import Connection

PROXY_REFUSES = 407
"""The status of a proxy that wants other credentials (RFC 9110, 15.5.8)."""
_SUFFIX = "_proxy"
# Kinds of proxies that can be named in an error; any other text may be a piece of a password.
_OTHER_KINDS = ("https", "socks", "socks4", "socks4a", "socks5", "socks5h")
_ONLY_HTTP = "the proxy that the environment names for this address: a proxy must be an http:// URL"


class ProxyRefusal(OSError):  # noqa: N818  # a proxy refuses, nothing is broken
    """Raised when a proxy answers in place of the server. The text has the addresses."""


class Proxy:
    """A proxy: its kind, which is a scheme of URLs, its address, and its credentials, wrapped."""

    __slots__ = ("_credentials", "host", "kind", "port")

    def __init__(self, kind: str, host: str, port: int, credentials: Secret | None) -> None:
        self.kind = kind
        self.host = host
        self.port = port
        self._credentials = credentials

    @property
    def address(self) -> str:
        """Its host and port, as messages show them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """The header that authenticates the client to the proxy; empty without a user."""
        if self._credentials is None:
            return {}
        return {"Proxy-Authorization": f"Basic {self._credentials.reveal()}"}

    def check(self) -> None:
        """Raise Misconfigured for a proxy that cannot be used."""
        if self.kind in _OTHER_KINDS:
            raise Misconfigured(f"{_ONLY_HTTP}, not {self.kind}://")
        if self.kind != "http" or not self.host:
            raise Misconfigured(_ONLY_HTTP)


def get_proxy(scheme: str, host: str, port: int) -> str | None:
    """Return the URL of the proxy for an address; None for a direct connection.

    The loopback addresses never use a proxy. The variables mean what they mean to `urllib.request`,
    which takes 70 modules to import.
    """
    if host in LOOPBACK:
        return None
    named = _get_named()
    if not named or _is_excepted(host, port, named.get("no", "")):
        return None
    return named.get(scheme) or named.get("all")


def _get_named() -> dict[str, str]:
    """Return what the variables `<kind>_proxy` name, by their kind.

    Those in lower case come first, and an empty one means no proxy. A visitor can set `HTTP_PROXY`
    of a CGI program, which has `REQUEST_METHOD`.
    """
    named: dict[str, str] = {}
    lower: dict[str, str] = {}
    for name in tuple(os.environ):
        kind, end = name[: -len(_SUFFIX)].lower(), name[-len(_SUFFIX) :]
        if end.lower() == _SUFFIX and (value := os.environ.get(name)) is not None:
            if end == _SUFFIX:
                lower[kind] = value
            elif value:
                named[kind] = value
    if "REQUEST_METHOD" in os.environ:
        named.pop("http", None)
    return {kind: value for kind, value in {**named, **lower}.items() if value}


def _is_excepted(host: str, port: int, exceptions: str) -> bool:
    """Return whether `NO_PROXY` has a host: itself, with its port, or a domain it is in."""
    if exceptions == "*":
        return True
    names = (name.strip().lstrip(".").lower() for name in exceptions.split(",") if name.strip())
    return any(f".{one}".endswith(f".{name}") for name in names for one in (host, f"{host}:{port}"))


def get_variable(scheme: str) -> str | None:
    """Return the variable of the environment that names the proxy for a scheme, as it is spelled.

    None when none does. The lower-case one counts if there are both.
    """
    for wanted in (f"{scheme}_proxy", "all_proxy"):
        for name in (wanted, *os.environ):
            if name.lower() == wanted and os.environ.get(name):
                return name
    return None


def find_proxy(scheme: str, host: str, port: int) -> Proxy | None:
    """Return the proxy for an address, None for a direct connection; raises Misconfigured."""
    proxy = _find(scheme, host, port)
    if proxy is not None:
        proxy.check()
    return proxy


def _find(scheme: str, host: str, port: int) -> Proxy | None:
    url = get_proxy(scheme, host, port)
    return None if url is None else parse_proxy(url)


def parse_proxy(url: str) -> Proxy:
    """Return a proxy from its URL; one without a scheme is one of http. Never raises.

    One that cannot be parsed has no host, and one whose kind is unknown has no kind.
    """
    with first_use():
        from urllib.parse import urlsplit
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        kind = parts.scheme if parts.scheme in ("http", *_OTHER_KINDS) else ""
        host, port = parts.hostname or "", parts.port or 80
        credentials = _encode(parts.username, parts.password or "") if parts.username else None
    except ValueError:  # its text repeats a piece of the URL
        return Proxy("", "", 0, None)
    return Proxy(kind, host, port, credentials)


def request_tunnel(connection: Connection, proxy: Proxy, address: str, deadline: float) -> int:
    """Ask a proxy for a tunnel to an address (RFC 9110, 9.3.6); return the status of its answer."""
    lines = [f"CONNECT {address} HTTP/1.1", f"Host: {address}"]
    lines += [f"{name}: {value}" for name, value in proxy.headers.items()]
    head = memoryview("\r\n".join([*lines, "", ""]).encode())
    del lines  # with the password of the proxy: no frame that may raise holds it
    connection.send(head, deadline, begins_answer)
    answer, _ = read_answer(connection, deadline, "CONNECT")
    return answer.status


def _encode(user: str, password: str) -> Secret:
    with first_use():
        from base64 import b64encode
        from urllib.parse import unquote
    pair = f"{unquote(user)}:{unquote(password)}".encode()
    return Secret(b64encode(pair).decode("ascii"))
