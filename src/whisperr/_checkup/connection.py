"""Checks the way to the service step by step: proxy, host name, connection, encryption.

Each step is what the client does, with the client's own parts, and with the time that it took. It
is bounded by `request_timeout`. After a step that failed nothing further can be said.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from whisperr._contract import Misconfigured
from whisperr._http.connection import Connection
from whisperr._http.connector import Connector
from whisperr._http.proxy import (
    PROXY_REFUSES,
    get_proxy,
    get_variable,
    parse_proxy,
    request_tunnel,
)
from whisperr._http.resolver import Resolver
from whisperr._options import LOOPBACK, parse_url
from whisperr._process.interruption import is_interruption

from .findings import Finding, find, to_duration, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from typing import Any

    from whisperr._http.proxy import Proxy
    from whisperr._options import Config

    Addresses = list[tuple[Any, ...]]

STEPS = ("proxy", "host name", "connection", "encryption")

_MOST_SHOWN = 3  # addresses
_EXPIRED, _NOT_YET_VALID = 10, 9  # codes of OpenSSL, X509_V_ERR_...
_OTHER_NAME = (62, 64)
_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)
# What OpenSSL says when the other side speaks something else than TLS.
_NO_TLS = {
    "HTTP_REQUEST",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
    "UNEXPECTED_MESSAGE",
    "UNKNOWN_PROTOCOL",
    "WRONG_VERSION_NUMBER",
}
_CERT_FILE = "SSL_CERT_FILE"


class _Target(NamedTuple):
    """Where to connect: to the service, or to the proxy that leads there."""

    scheme: str
    server: str  # without the dot that keeps search domains away
    address: str  # of the service, as a proxy is asked for it
    host: str  # to connect to
    port: int
    proxy: Proxy | None
    timeout: float

    @property
    def deadline(self) -> float:
        return time.monotonic() + self.timeout

    @property
    def next_hop(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{name}:{self.port}"


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
    target = _Target(
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
        why = "is never reached through one" if server in LOOPBACK else "is in NO_PROXY"
        return Finding("proxy", "ok", f"none: {variable} is set, but {server} {why}")
    try:
        proxy.check()
    except Misconfigured:
        if not proxy.kind or not proxy.host:
            return find("proxy_unreadable", f"the URL in {variable} cannot be read")
        text = f"{variable} names a proxy of the kind {proxy.kind}://"
        return find("proxy_kind", text, variable=variable, server=server)
    address = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
    return Finding("proxy", "ok", f"http://{address}:{proxy.port}, from {variable}")


def _connect(target: _Target, context: ssl.SSLContext | None) -> Iterator[Finding]:
    addresses = yield from _resolve(target)
    if addresses is None:
        return
    connection = yield from _open(target, addresses)
    if connection is None:
        return
    try:
        if target.scheme == "http":
            yield Finding("encryption", "skipped", "http:// has none")
        else:
            yield _encrypt(target, connection, context)
    finally:
        connection.close()


def _resolve(target: _Target) -> Generator[Finding, None, Addresses | None]:
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
        yield Finding("host name", "ok", f"{host} is {text}{'' if is_numeric else _took(began)}")
        return found
    return None


def _to_unresolved(target: _Target, error: OSError, began: float) -> Finding:
    if isinstance(error, TimeoutError):
        text = f"{target.host}: no answer within {to_duration(target.timeout)}"
        return find("resolver_late", text)
    if isinstance(error, socket.gaierror):
        text = f"{target.host}: {_describe(error)}{_took(began)}"
    else:  # a label that is empty or too long for the names of hosts (IDNA)
        text = f"{target.host}: no name of a host"
    return find("unresolved", text, host=target.host)


def _open(target: _Target, addresses: Addresses) -> Generator[Finding, None, Connection | None]:
    """Connect to the service, or to the proxy and through it; None when that failed."""
    began = time.monotonic()
    connection: Connection | None = None
    try:
        opened = Connector().connect_to(addresses, target.deadline)
        connection = Connection(opened)
        peer = str(opened.getpeername()[0])
        status = _ask_for_tunnel(target, connection)
    except OSError as error:
        if connection is not None:
            connection.close()
        if is_interruption(error):
            raise
        yield _to_failure(target, error, through=connection is not None)
        return None
    if status // 100 != 2:  # noqa: PLR2004  # 2xx
        connection.close()
        yield _to_refusal(target, status)
        return None
    way = f" through the proxy at {target.next_hop}" if target.proxy else f" at {peer}"
    yield Finding("connection", "ok", f"{target.address}{way}{_took(began)}")
    return connection


def _ask_for_tunnel(target: _Target, connection: Connection) -> int:
    """Return the status of the proxy's answer; 200 where none is asked."""
    if target.proxy is None or target.scheme == "http":
        return 200
    return request_tunnel(connection, target.proxy, target.address, target.deadline)


def _to_failure(target: _Target, error: OSError, *, through: bool) -> Finding:
    where = f"{'the proxy at ' if target.proxy else ''}{target.next_hop}"
    if target.proxy and not through:
        variable = get_variable(target.scheme)
        text = f"{where} cannot be reached: {_describe(error)}"
        return find("proxy_away", text, address=target.next_hop, variable=variable)
    if through:
        text = f"{where} gave no answer to CONNECT: {_describe(error)}"
        return find("proxy_silent", text, address=target.next_hop)
    if isinstance(error, TimeoutError):
        text = f"{where} does not answer, after {to_duration(target.timeout)}"
        return find("silent", text, address=target.next_hop)
    if isinstance(error, ConnectionRefusedError):
        code = "refused_here" if target.host in LOOPBACK else "refused"
        return find(code, f"{where}: connection refused", address=target.next_hop)
    return find("unreachable", f"{where}: {_describe(error)}", address=target.next_hop)


def _to_refusal(target: _Target, status: int) -> Finding:
    text = f"the proxy at {target.next_hop} answers CONNECT with HTTP {status}"
    if status == PROXY_REFUSES:
        return find("proxy_password", text, variable=get_variable(target.scheme))
    code = "proxy_forbids" if status // 100 == 4 else "proxy_fails"  # noqa: PLR2004  # 4xx
    return find(code, text, address=target.address, server=target.server)


def _encrypt(target: _Target, connection: Connection, context: ssl.SSLContext | None) -> Finding:
    began = time.monotonic()
    try:
        used = context or ssl.create_default_context()
        connection.encrypt(used, target.server, target.deadline)
    except OSError as error:
        if is_interruption(error):
            raise
        return _to_tls_failure(target, error, has_own=context is not None)
    except ValueError:  # of `wrap_socket`, for a name that no certificate can have
        return find("tls_failed", f"{target.server}: no name of a host")
    version, certificate = connection.get_session()
    return Finding(
        "encryption", "ok", f"{version}{_describe_certificate(certificate)}{_took(began)}"
    )


def _to_tls_failure(target: _Target, error: OSError, *, has_own: bool) -> Finding:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _to_distrust(target, error, has_own=has_own)
    if isinstance(error, TimeoutError):
        return find("tls_failed", f"no end of the handshake within {to_duration(target.timeout)}")
    reason = getattr(error, "reason", None)
    if reason in _NO_TLS:
        return find("no_tls", f"{target.address} does not speak TLS ({reason})")
    return find("tls_failed", f"the handshake: {reason or _describe(error)}")


def _to_distrust(target: _Target, error: ssl.SSLCertVerificationError, *, has_own: bool) -> Finding:
    text = f"the certificate of {target.server}: {error.verify_message}"
    if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
        now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        return find("certificate_dates", f"{text} (this machine's clock: {now})")
    if error.verify_code in _OTHER_NAME:
        return find("certificate_name", text)
    if error.verify_code not in _UNKNOWN_AUTHORITY:
        return find("tls_failed", text)
    code, why = _get_authorities(has_own=has_own)
    return find(code, f"{text}{why}")


def _get_authorities(*, has_own: bool) -> tuple[str, str]:
    """Return why an authority is not known, as a code of HINTS and as the end of a text."""
    if has_own:
        return "own_context", ", says the `ssl_context` option"
    named, paths = os.environ.get(_CERT_FILE), ssl.get_default_verify_paths()
    if named and not Path(named).is_file():
        return "no_cert_file", f"; {_CERT_FILE} names {named}, which is no file"
    if not named and paths.cafile is None and paths.capath is None:
        return "no_authorities", "; this machine knows no authorities at all"
    return "unknown_authority", ""


def _describe_certificate(certificate: Mapping[str, object]) -> str:
    """Return how long a certificate is valid and by whom; empty when it was not verified."""
    ends = certificate.get("notAfter")
    if not isinstance(ends, str):
        return ""
    days = (ssl.cert_time_to_seconds(ends) - time.time()) / 86_400
    names = dict(_flatten(certificate.get("issuer")))
    issuer = names.get("organizationName") or names.get("commonName")
    return f", certificate valid for {days:.0f} more days" + (f", by {issuer}" if issuer else "")


def _flatten(name: object) -> Sequence[tuple[str, str]]:
    """Return the pairs of a distinguished name, which `ssl` nests in tuples."""
    return [pair for part in name for pair in part] if isinstance(name, tuple) else []


def _describe(error: OSError) -> str:
    return str(error.strerror or error) or type(error).__name__


def _took(began: float) -> str:
    return f" ({to_milliseconds(time.monotonic() - began)})"
