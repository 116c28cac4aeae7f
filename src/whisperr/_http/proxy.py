"""Finds the proxy for an address in the environment, and requests tunnels from it.

A proxy's URL may contain a password: no error repeats any of it, and no local variable holds it in
a frame that an exception may pass through.
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
"""The status of a proxy that demands valid credentials (RFC 9110, 15.5.8)."""
_SUFFIX = "_proxy"
# Schemes that an error may name; any other text may be part of a password.
_OTHER_KINDS = ("https", "socks", "socks4", "socks4a", "socks5", "socks5h")
_ONLY_HTTP = "the proxy in the environment must have an http:// URL"


class ProxyRefusal(OSError):  # noqa: N818  # a proxy refuses, nothing is broken
    """Raised when a proxy refuses a tunnel. The text has both addresses."""


class Proxy:
    """A proxy: its kind (the scheme of its URL), its address, and its wrapped credentials."""

    __slots__ = ("_credentials", "host", "kind", "port")

    def __init__(self, kind: str, host: str, port: int, credentials: Secret | None) -> None:
        self.kind = kind
        self.host = host
        self.port = port
        self._credentials = credentials

    @property
    def address(self) -> str:
        """Host and port, as shown in messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """The header that authenticates the client to the proxy; empty without credentials."""
        if self._credentials is None:
            return {}
        return {"Proxy-Authorization": f"Basic {self._credentials.reveal()}"}

    def check(self) -> None:
        """Raise Misconfigured if the proxy cannot be used."""
        if self.kind in _OTHER_KINDS:
            raise Misconfigured(f"{_ONLY_HTTP}, not {self.kind}://")
        if self.kind != "http" or not self.host:
            raise Misconfigured(_ONLY_HTTP)


def get_proxy(scheme: str, host: str, port: int) -> str | None:
    """Return the URL of the proxy for an address; None for a direct connection.

    Loopback addresses never use a proxy. Otherwise the environment variables mean what they mean to
    `urllib.request`, which is not used because it imports 70 modules.
    """
    if host in LOOPBACK:
        return None
    named = _get_named()
    if not named or _is_excepted(host, port, named.get("no", "")):
        return None
    return named.get(scheme) or named.get("all")


def _get_named() -> dict[str, str]:
    """Return the values of the environment variables `<kind>_proxy`, by kind.

    Lower-case ones take precedence, and an empty value means no proxy. `HTTP_PROXY` is ignored in a
    CGI program, recognised by `REQUEST_METHOD`: there a visitor's `Proxy:` header sets it.
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
    """Return whether `NO_PROXY` lists a host: by name, with its port, or by a parent domain."""
    if exceptions == "*":
        return True
    names = (name.strip().lstrip(".").lower() for name in exceptions.split(",") if name.strip())
    return any(f".{one}".endswith(f".{name}") for name in names for one in (host, f"{host}:{port}"))


def get_variable(scheme: str) -> str | None:
    """Return the environment variable that sets the proxy for a scheme, as spelled; None if none.

    If both spellings are set, the lower-case one counts.
    """
    for wanted in (f"{scheme}_proxy", "all_proxy"):
        for name in (wanted, *os.environ):
            if name.lower() == wanted and os.environ.get(name):
                return name
    return None


def find_proxy(scheme: str, host: str, port: int) -> Proxy | None:
    """Return the proxy for an address, None for a direct connection; raise Misconfigured."""
    proxy = _find(scheme, host, port)
    if proxy is not None:
        proxy.check()
    return proxy


def _find(scheme: str, host: str, port: int) -> Proxy | None:
    url = get_proxy(scheme, host, port)
    return None if url is None else parse_proxy(url)


def parse_proxy(url: str) -> Proxy:
    """Return a proxy from its URL, whose scheme defaults to http. Never raises.

    For a URL that cannot be parsed the proxy has no host; for an unknown scheme it has no kind.
    """
    with first_use():
        from urllib.parse import urlsplit
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        kind = parts.scheme if parts.scheme in ("http", *_OTHER_KINDS) else ""
        host, port = parts.hostname or "", parts.port or 80
        credentials = _encode(parts.username, parts.password or "") if parts.username else None
    except ValueError:  # its text repeats part of the URL
        return Proxy("", "", 0, None)
    return Proxy(kind, host, port, credentials)


def request_tunnel(connection: Connection, proxy: Proxy, address: str, deadline: float) -> int:
    """Request a tunnel to an address (RFC 9110, 9.3.6), and return the status of the answer."""
    lines = [f"CONNECT {address} HTTP/1.1", f"Host: {address}"]
    lines += [f"{name}: {value}" for name, value in proxy.headers.items()]
    head = memoryview("\r\n".join([*lines, "", ""]).encode())
    del lines  # they contain the proxy's password
    connection.send(head, deadline, begins_answer)
    answer, _ = read_answer(connection, deadline, "CONNECT")
    return answer.status


def _encode(user: str, password: str) -> Secret:
    with first_use():
        from base64 import b64encode
        from urllib.parse import unquote
    pair = f"{unquote(user)}:{unquote(password)}".encode()
    return Secret(b64encode(pair).decode("ascii"))
