"""Checks a configuration from the outside, for commands that find out why nothing arrives.

It sends one request, which the service refuses because it has no events, so nothing is stored.
Every step is bounded by the time limit of a request.
"""

from __future__ import annotations

import socket
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from whisperr._contract import is_key_accepted
from whisperr._delivery.verdict import parse_error_code
from whisperr._events.batch import to_request
from whisperr._http.proxy import get_proxy
from whisperr._http.transport import HttpTransport
from whisperr._options import LOOPBACK, parse_url
from whisperr._process.interruption import is_interruption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whisperr._contract import Answer
    from whisperr._options import Config

# CONTRACT, Event: an event more than 5 minutes ahead of the server's clock is refused.
_MOST_AHEAD = 300.0
# Synchronised clocks differ by less; the header itself has whole seconds only.
_USUAL_SKEW = 10.0


class Finding(NamedTuple):
    """What one step found: its name, a verdict, and one line of text that never shows the key."""

    name: str
    state: Literal["ok", "doubtful", "wrong", "skipped"]
    text: str


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
    why_not = "http:// has none" if scheme == "http" else detour
    yield Finding("encryption", "skipped", why_not) if why_not else _encryption(config, host, port)
    request = _send_request(config)
    yield next(request)
    if measures:
        yield from request


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
    try:  # the resolver of the system has time limits of its own
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return Finding("host name", "wrong", f"{host}: {error.strerror or error}")
    except ValueError:  # a label that is empty or too long for the names of hosts (IDNA)
        return Finding("host name", "wrong", f"{host}: no name of a host")
    addresses = sorted({str(address[0]) for *_, address in found})
    return Finding("host name", "ok", f"{host} is {', '.join(addresses)}")


def _encryption(config: Config, host: str, port: int) -> Finding:
    context = config.ssl_context or ssl.create_default_context()
    try:
        with (
            socket.create_connection((host, port), config.request_timeout) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            ends = (secure.getpeercert() or {}).get("notAfter")
            validity = ""  # a context that verifies nothing keeps no certificate
            if isinstance(ends, str):
                days = (ssl.cert_time_to_seconds(ends) - time.time()) / 86_400
                validity = f", certificate valid for {days:.0f} more days"
            return Finding("encryption", "ok", f"{secure.version()}{validity}")
    except ssl.SSLCertVerificationError as error:
        return Finding("encryption", "wrong", f"the certificate: {error.verify_message}")
    except OSError as error:
        return Finding("encryption", "wrong", f"{type(error).__name__}: {error}")
    except ValueError:
        return Finding("encryption", "wrong", f"{host}: no name of a host")


def _send_request(config: Config) -> Iterator[Finding]:
    """Yield what the one request finds about the key, then the round trip and the clock."""
    key, answer, duration, at = Finding("key", "skipped", "disabled"), None, 0.0, 0.0
    if not config.disabled:
        transport = config.transport or HttpTransport(
            config.base_url, config.key, ssl_context=config.ssl_context
        )
        began, at = time.monotonic(), time.time()
        try:
            answer = transport.send(to_request(()), config.request_timeout)
            duration = time.monotonic() - began
            key = _key(answer)
        except OSError as error:
            key = Finding("key", "wrong", f"no answer: {type(error).__name__}: {error}")
        except Exception as error:
            if is_interruption(error):
                raise
            # Of the transport, or of a wrong address; its text is unknown and may have the key.
            key = Finding("key", "wrong", f"no answer: {type(error).__name__}")
        finally:
            if config.transport is None:
                transport.close()
    yield key
    if answer is None:
        yield Finding("round trip", "skipped", "no answer")
    else:
        yield Finding("round trip", "ok", f"{duration * 1000:.0f} ms, with connecting")
    yield _clock("" if answer is None else answer.headers.get("date", ""), at + duration / 2)


def _key(answer: Answer) -> Finding:
    code = parse_error_code(answer.body)
    status = f"HTTP {answer.status}" + (f", {code}" if code else "")
    accepted = is_key_accepted(answer.status)
    if accepted is None:
        return Finding("key", "doubtful", f"{status}: says nothing about the key")
    if accepted:
        return Finding("key", "ok", f"accepted ({status} for a request without events)")
    return Finding("key", "wrong", f"refused ({status}); create another one in the dashboard")


def _clock(date: str, ours: float) -> Finding:
    """Compare clocks by the answer's Date (RFC 9110, 6.6.1), which is truncated to the second."""
    try:
        theirs = parsedate_to_datetime(date).timestamp() + 0.5
    except (ValueError, OverflowError, OSError):  # no date, or one of no year that there is
        return Finding("clock", "skipped", "no answer that has the time")
    ahead = ours - theirs
    text = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    if ahead > _MOST_AHEAD:
        return Finding("clock", "wrong", f"{text}: it refuses events of its future; set the clock")
    if abs(ahead) > _USUAL_SKEW:
        return Finding("clock", "doubtful", f"{text}: events are stamped with it; set the clock")
    return Finding("clock", "ok", text)
