"""Checks the connection to the service step by step: proxy, host name, connection, encryption.

Each step does what the client does, with the client's own code, and reports the time that it took.
Each is bounded by `request_timeout`. The first step that fails ends the check.
"""

from __future__ import annotations

import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING

from whisperr._address import LOOPBACK, parse_url
from whisperr._contract import Misconfigured
from whisperr._http.proxy import PROXY_REFUSES, get_proxy, get_variable, parse_proxy
from whisperr._http.resolver import Resolver
from whisperr._process.interruption import is_interruption

from .encryption import inspect_encryption
from .findings import Finding, find, to_duration
from .target import Target, describe, took

if TYPE_CHECKING:
    import ssl
    from collections.abc import Generator, Iterator

    from whisperr._http.connection import Connection
    from whisperr._http.proxy import Proxy
    from whisperr._options import Config

    from .target import Addresses

STEPS = ("proxy", "host name", "connection", "encryption")
_MOST_SHOWN = 3  # addresses


def inspect_connection(config: Config) -> Generator[Finding, None, bool]:
    """Yield a finding for each of STEPS; return whether a request can be made."""
    left, reached = list(STEPS), True
    for finding in _inspect(config):
        left.remove(finding.name)
        reached = finding.state != "wrong"
        yield finding
    for name in left:
        yield Finding(name, "skipped", "not checked")
    return reached


def _inspect(config: Config) -> Iterator[Finding]:
    parts = parse_url(config.base_url)
    assert parts is not None  # `Config` has checked it
    if config.transport is not None:
        yield Finding("connection", "skipped", "the `transport` option sends the requests")
        return
    scheme, host, port, _ = parts
    server = host.removesuffix(".") or host
    url = get_proxy(scheme, server, port)
    proxy = None if url is None else parse_proxy(url)
    finding = _inspect_proxy(scheme, server, proxy)
    yield finding
    if finding.state == "wrong":
        return
    name = f"[{server}]" if ":" in server else server
    target = Target(
        scheme,
        server,
        f"{name}:{port}",
        proxy.host if proxy else server if server in LOOPBACK else host,
        proxy.port if proxy else port,
        proxy,
        config.request_timeout,
    )
    yield from _connect(target, config.ssl_context)


def _inspect_proxy(scheme: str, server: str, proxy: Proxy | None) -> Finding:
    variable = get_variable(scheme)
    if proxy is None:
        if variable is None:
            return Finding("proxy", "ok", "none")
        why = "never uses a proxy" if server in LOOPBACK else "is in NO_PROXY"
        return Finding("proxy", "ok", f"none: {variable} is set, but {server} {why}")
    try:
        proxy.check()
    except Misconfigured:
        if not proxy.kind or not proxy.host:
            return find("proxy_unreadable", f"the URL in {variable} cannot be read")
        text = f"{variable} is a {proxy.kind}:// proxy, which is not supported"
        return find("proxy_kind", text, variable=variable, server=server)
    address = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
    return Finding("proxy", "ok", f"http://{address}:{proxy.port}, from {variable}")


def _connect(target: Target, context: ssl.SSLContext | None) -> Iterator[Finding]:
    addresses = yield from _resolve(target)
    if addresses is None:
        return
    connection = yield from _open(target, addresses)
    if connection is None:
        return
    with closing(connection):
        if target.scheme == "http":
            yield Finding("encryption", "skipped", "none: the address is http://")
        else:
            yield inspect_encryption(target, addresses, connection, context)


def _resolve(target: Target) -> Generator[Finding, None, Addresses | None]:
    host, began = target.host, time.monotonic()
    try:
        found = Resolver().resolve(host, target.port, target.deadline)
    except OSError as error:
        if is_interruption(error):
            raise
        yield _to_unresolved(target, error, began)
    else:
        shown = list(dict.fromkeys(str(address[0]) for *_, address in found))
        more = f" and {len(shown) - _MOST_SHOWN} more" if len(shown) > _MOST_SHOWN else ""
        is_numeric = shown == [host]
        text = "an address" if is_numeric else f"{', '.join(shown[:_MOST_SHOWN])}{more}"
        yield Finding("host name", "ok", f"{host} is {text}{'' if is_numeric else took(began)}")
        return found
    return None


def _to_unresolved(target: Target, error: OSError, began: float) -> Finding:
    if isinstance(error, TimeoutError):
        text = f"{target.host}: no answer within {to_duration(target.timeout)}"
        return find("resolver_late", text)
    if isinstance(error, socket.gaierror):
        text = f"{target.host}: {describe(error)}{took(began)}"
    else:  # a label that is empty or too long for the names of hosts (IDNA)
        text = f"{target.host}: not a valid host name"
    return find("unresolved", text, host=target.host)


def _open(target: Target, addresses: Addresses) -> Generator[Finding, None, Connection | None]:
    """Connect to the service, or to the proxy and through it; None when that failed."""
    began = time.monotonic()
    try:
        connection, peer = target.connect(addresses)
    except OSError as error:
        if is_interruption(error):
            raise
        yield _to_unreached(target, error)
        return None
    trouble = _open_tunnel(target, connection)
    if trouble is not None:
        connection.close()
        yield trouble
        return None
    way = f" through the proxy at {target.next_hop}" if target.proxy else f" at {peer}"
    yield Finding("connection", "ok", f"{target.address}{way}{took(began)}")
    return connection


def _open_tunnel(target: Target, connection: Connection) -> Finding | None:
    """Open the tunnel through a proxy, if one is needed; return why it failed."""
    try:
        status = target.ask_for_tunnel(connection)
    except OSError as error:
        if is_interruption(error):
            raise
        is_late = isinstance(error, TimeoutError)
        why = f" within {to_duration(target.timeout)}" if is_late else f": {describe(error)}"
        text = f"the proxy at {target.next_hop} did not answer CONNECT{why}"
        return find("proxy_silent", text, address=target.next_hop)
    return None if status // 100 == 2 else _to_refusal(target, status)  # noqa: PLR2004  # 2xx


def _to_unreached(target: Target, error: OSError) -> Finding:
    if target.proxy:
        variable = get_variable(target.scheme)
        text = f"the proxy at {target.next_hop} cannot be reached: {describe(error)}"
        return find("proxy_away", text, address=target.next_hop, variable=variable)
    if isinstance(error, TimeoutError):
        text = f"{target.next_hop}: no connection within {to_duration(target.timeout)}"
        return find("silent", text, address=target.next_hop)
    if isinstance(error, ConnectionRefusedError):
        code = "refused_here" if target.host in LOOPBACK else "refused"
        return find(code, f"{target.next_hop}: connection refused", address=target.next_hop)
    return find("unreachable", f"{target.next_hop}: {describe(error)}", address=target.next_hop)


def _to_refusal(target: Target, status: int) -> Finding:
    text = f"the proxy at {target.next_hop} answered CONNECT with HTTP {status}"
    if status == PROXY_REFUSES:
        return find("proxy_password", text, variable=get_variable(target.scheme))
    code = "proxy_forbids" if status // 100 == 4 else "proxy_fails"  # noqa: PLR2004  # 4xx
    return find(code, text, address=target.address, server=target.server)
