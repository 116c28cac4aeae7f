"""Checks the answer of the service to one request: the key, the path and the clock.

The request has no events, so the service refuses it and stores nothing. Of the answer, only the
status, the error code and the `Date` are used.
"""

from __future__ import annotations

import time
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from whisperr._address import LOOPBACK
from whisperr._contract import AUTH, MAX_AGE_DAYS, RETRY, Misconfigured, classify, is_key_accepted
from whisperr._delivery.body import get_error_code, parse_object
from whisperr._events.batch import to_request
from whisperr._http.transport import HttpTransport
from whisperr._process.interruption import is_interruption

from .findings import Finding, find, to_duration, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whisperr._contract import Answer
    from whisperr._options import Config

CHECKS = ("key", "round trip", "clock")
# The name of the local server, whose answer about a key says nothing about the service.
_LOCAL_SERVER = "whisperr-dev"
# CONTRACT, Event: the server refuses events more than 5 minutes ahead of its clock. A clock that is
# as far behind is wrong too: events are stored with times at which they did not happen.
_MOST_SKEW = 300.0
_TOO_OLD = MAX_AGE_DAYS * 86_400.0
# Synchronised clocks differ by less; the header has whole seconds only.
_USUAL_SKEW = 10.0
# A machine without a clock starts in 1970. A larger difference means a damaged header.
_MOST_BELIEVED = 100 * 366 * 86_400.0
_TOO_MANY = 429


def inspect_service(config: Config, *, reached: bool) -> Iterator[Finding]:
    """Yield the findings of one request: the key, the round trip and the clock."""
    if not reached:
        yield from (Finding(name, "skipped", "not checked") for name in CHECKS)
        return
    began, at = time.monotonic(), time.time()
    answer = _send(config)
    duration = time.monotonic() - began
    if isinstance(answer, Finding):
        yield Finding("key", "skipped", "not checked: no answer")
        yield answer
        yield Finding("clock", "skipped", "no answer")
        return
    is_ours = parse_object(answer.body) is not None
    yield _inspect_key(answer, is_ours=is_ours)
    yield _inspect_answer(answer, duration, config.base_url, is_ours=is_ours)
    yield inspect_clock(answer.headers.get("date", ""), at + duration / 2)


def _send(config: Config) -> Answer | Finding:
    """Return the answer to a request without events, or the finding that there is none."""
    transport = config.transport or HttpTransport(
        config.base_url, config.key, ssl_context=config.ssl_context
    )
    try:
        answer: Answer = transport.send(to_request(()), config.request_timeout)
    except Misconfigured as error:  # a proxy that refuses; its text is ours
        return find("proxy_refuses", f"no answer: {error}")
    except OSError as error:
        if is_interruption(error):
            raise
        if config.transport is None:
            return find("no_answer", transport.explain(error).text)
        return find("no_answer", f"no answer: {type(error).__name__}: {error}")
    except Exception as error:
        if is_interruption(error):
            raise
        # Of the transport, or of a wrong address; its text is unknown and may have the key.
        return find("no_answer", f"no answer: {type(error).__name__}")
    finally:
        if config.transport is None:
            transport.close()
    return answer


def _inspect_key(answer: Answer, *, is_ours: bool) -> Finding:
    code = get_error_code(parse_object(answer.body))
    status = f"HTTP {answer.status}" + (f", {code}" if code else "")
    accepted = is_key_accepted(answer.status)
    if accepted is False and answer.body and not is_ours:
        return find("key_blocked", f"refused ({status}), but not by the service")
    if accepted is False:
        return find("key_refused", f"refused ({status})")
    if accepted is None or not is_ours:
        return Finding("key", "doubtful", f"{status}, which says nothing about the key")
    if answer.headers.get("server") == _LOCAL_SERVER:
        return Finding("key", "ok", f"accepted by whisperr dev, not the service ({status})")
    return Finding("key", "ok", f"accepted ({status} for a request without events)")


def _inspect_answer(answer: Answer, duration: float, url: str, *, is_ours: bool) -> Finding:
    status, took = answer.status, to_milliseconds(duration)
    text = f"HTTP {status} after {took}"
    if status // 100 == 3:  # noqa: PLR2004  # 3xx
        return find("redirected", f"{text}: a redirect{_get_target(answer)}, not followed")
    if status == _TOO_MANY:
        return find("too_many", text)
    if classify(status) == RETRY:
        return _to_failure(text, url, is_ours=is_ours or not answer.body)
    if classify(status) != AUTH and is_key_accepted(status) is None:
        return find("path_wrong", f"{text}: the server does not know the path")
    if classify(status) != AUTH and not is_ours:
        return find("not_the_service", f"{text}: not an answer of the service")
    return Finding("round trip", "ok", f"{took}, including the connection")


def _to_failure(text: str, url: str, *, is_ours: bool) -> Finding:
    """Return the finding about a 5xx: of the service, a gateway before it, or another program."""
    if is_ours:
        return find("service_fails", f"{text}: the service cannot accept events now")
    parts = urlsplit(url)
    authors = "the service or of whisperr dev" if parts.hostname in LOOPBACK else "the service"
    text = f"{text}: not an answer of {authors}"
    return find("gateway_fails", text, address=parts.netloc)


def _get_target(answer: Answer) -> str:
    """Return where a redirect leads: without path and query, which may repeat what was sent."""
    try:
        parts = urlsplit(answer.headers.get("location", ""))
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    return f" to {parts.scheme}://{host}{f':{port}' if port else ''}" if host else ""


def inspect_clock(date: str, ours: float) -> Finding:
    """Compare clocks by the answer's Date (RFC 9110, 6.6.1), which is truncated to the second."""
    theirs = _parse_date(date)
    if theirs is None or abs(ours - theirs) > _MOST_BELIEVED:
        return Finding("clock", "skipped", "no answer with the time")
    ahead = ours - theirs
    text = f"{to_duration(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the server's"
    if ahead > _MOST_SKEW:
        return find("clock_ahead", f"{text}: the server refuses events from the future")
    if -ahead > _MOST_SKEW:
        what = "refuses events as too old" if -ahead > _TOO_OLD else "stores events as older"
        return find("clock_behind", f"{text}: the server {what}")
    if abs(ahead) > _USUAL_SKEW:
        return find("clock_differs", f"{text}: events get their time from this clock")
    return Finding("clock", "ok", text)


def _parse_date(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
        # The old form of `asctime` names no zone: it is UTC.
        aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        return aware.timestamp() + 0.5
    except (ValueError, OverflowError, OSError):  # not a date, or with a year out of range
        return None
