"""Checks a configuration from the outside, for commands that find out why nothing arrives.

It sends one request, which the service refuses because it has no events, so nothing is stored.
Every step is bounded by the time limit of a request.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from whisperr._contract import is_key_accepted
from whisperr._delivery.verdict import parse_error_code
from whisperr._events.batch import to_request
from whisperr._frozen import Frozen
from whisperr._http import transport as _transport
from whisperr._http.proxy import get_proxy
from whisperr._url import LOOPBACK, parse_url

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from typing import Literal

    from whisperr._contract import Answer
    from whisperr._options import Config

    Verdict = Literal["ok", "doubtful", "wrong", "skipped"]

# CONTRACT, Event: an event more than 5 minutes ahead of the server's clock is refused.
_MOST_AHEAD = 300.0
# Synchronised clocks differ by less; the header itself has whole seconds only.
_USUAL_SKEW = 10.0


class Finding(Frozen):
    """What one step found: its name, a verdict, and one line of text that never shows the key."""

    __slots__ = ("name", "state", "text")

    name: str
    state: Verdict
    text: str

    def __init__(self, name: str, state: Verdict, text: str) -> None:
        self._set(name=name, state=state, text=text)


class _Exchange:
    """The one request of a checkup: its answer and its times."""

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.duration = 0.0  # seconds, with connecting
        self.at = 0.0  # the wall clock in the middle of it, in seconds since 1970


def checkup(config: Config, *, measures: bool = False) -> Iterator[Finding]:
    """Check the configuration, the name of the host, its encryption and the key, in this order.

    A step runs when its finding is asked for, so that a command can show each at once. The key is
    checked even after a failed step, because something between, such as a proxy, may be at fault.
    With `measures` there are two more: the round trip of that request, and how far our clock is
    from the server's.
    """
    parts = parse_url(config.base_url)
    assert parts is not None  # `Config` has checked it
    scheme, host, port, _ = parts
    yield _configuration(config, scheme, host)
    detour = _find_detour(config, scheme, host, port)
    yield Finding("host name", "skipped", detour) if detour else _host_name(host, port)
    if scheme == "http":
        yield Finding("encryption", "skipped", "http:// has none")
    else:
        yield (
            Finding("encryption", "skipped", detour) if detour else _encryption(config, host, port)
        )
    exchange = _Exchange()
    yield _key(config, exchange)
    if measures:
        yield _round_trip(exchange)
        yield _clock(exchange)


def _configuration(config: Config, scheme: str, host: str) -> Finding:
    name = "configuration"
    if config.disabled:
        return Finding(name, "doubtful", "disabled: a client with this sends nothing")
    if config.key.is_publishable:
        text = "a publishable key (wpk_...) is for apps; a backend needs a server key (wrk_...)"
        return Finding(name, "doubtful", text)
    if scheme == "http" and host not in LOOPBACK:
        return Finding(name, "doubtful", f"{config.base_url}: http:// sends the key unencrypted")
    mode = " in test mode" if config.test_mode else ""
    return Finding(name, "ok", f"sends to {config.base_url}{mode}")


def _find_detour(config: Config, scheme: str, host: str, port: int) -> str | None:
    """Return what is known to stand between this machine and the host."""
    if config.transport is not None:
        return "the `transport` option sends the requests"
    if get_proxy(scheme, host, port) is not None:
        return "requests go through the proxy that the environment names"
    return None


def _host_name(host: str, port: int) -> Finding:
    import socket

    try:  # the resolver of the system has time limits of its own
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return Finding("host name", "wrong", f"{host}: {error.strerror or error}")
    addresses = sorted({str(address[0]) for *_, address in found})
    return Finding("host name", "ok", f"{host} is {', '.join(addresses)}")


def _encryption(config: Config, host: str, port: int) -> Finding:
    import socket
    import ssl

    context = config.ssl_context or ssl.create_default_context()
    try:
        with (
            socket.create_connection((host, port), config.request_timeout) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            return Finding("encryption", "ok", f"{secure.version()}{_validity(secure)}")
    except ssl.SSLCertVerificationError as error:
        return Finding("encryption", "wrong", f"the certificate: {error.verify_message}")
    except OSError as error:
        return Finding("encryption", "wrong", f"{type(error).__name__}: {error}")


def _validity(secure: ssl.SSLSocket) -> str:
    import ssl

    ends = (secure.getpeercert() or {}).get("notAfter")
    if not isinstance(ends, str):
        return ""  # a context that verifies nothing keeps no certificate
    days = (ssl.cert_time_to_seconds(ends) - time.time()) / 86_400
    return f", certificate valid for {days:.0f} more days"


def _key(config: Config, exchange: _Exchange) -> Finding:
    if config.disabled:
        return Finding("key", "skipped", "disabled")
    transport = config.transport or _transport.HttpTransport(
        config.base_url, config.key, ssl_context=config.ssl_context
    )
    began, at = time.monotonic(), time.time()
    try:
        answer = transport.send(to_request(()), config.request_timeout)
        exchange.answer, exchange.duration = answer, time.monotonic() - began
        exchange.at = at + exchange.duration / 2
    except OSError as error:
        return Finding("key", "wrong", f"no answer: {type(error).__name__}: {error}")
    finally:
        if config.transport is None:
            transport.close()
    code = parse_error_code(answer.body)
    status = f"HTTP {answer.status}" + (f", {code}" if code else "")
    accepted = is_key_accepted(answer.status)
    if accepted is None:
        return Finding("key", "doubtful", f"{status}: says nothing about the key")
    if accepted:
        return Finding("key", "ok", f"accepted ({status} for a request without events)")
    return Finding("key", "wrong", f"refused ({status}); create another one in the dashboard")


def _round_trip(exchange: _Exchange) -> Finding:
    if exchange.answer is None:
        return Finding("round trip", "skipped", "no answer")
    return Finding("round trip", "ok", f"{exchange.duration * 1000:.0f} ms, with connecting")


def _clock(exchange: _Exchange) -> Finding:
    """Compare clocks by the answer's Date (RFC 9110, 6.6.1), which is truncated to the second."""
    answer = exchange.answer
    try:
        date = parsedate_to_datetime("" if answer is None else answer.headers.get("date", ""))
        theirs = date.timestamp() + 0.5
    except ValueError:
        return Finding("clock", "skipped", "no answer that has the time")
    ahead = exchange.at - theirs
    text = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    if ahead > _MOST_AHEAD:
        return Finding("clock", "wrong", f"{text}: it refuses events of its future; set the clock")
    if abs(ahead) > _USUAL_SKEW:
        return Finding("clock", "doubtful", f"{text}: events are stamped with it; set the clock")
    return Finding("clock", "ok", text)
