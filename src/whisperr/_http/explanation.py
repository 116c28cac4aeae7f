"""Explains why no answer came: what failed, at which address, and what to do about it.

Pure, apart from reading the environment variables for proxies. Imported with the transport.
"""

from __future__ import annotations

import errno
import socket

from whisperr._contract import AFTER_TWO, AT_ONCE, DOCTOR, Failure, Misconfigured
from whisperr._foreign import printable

from .proxy import ProxyRefusal, get_variable
from .resolver import LookUpTimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .proxy import Proxy

# The steps of an attempt, in order.
CONNECT, TUNNEL, ENCRYPT, EXCHANGE = range(4)

_LONGEST_TEXT = 200
# Verification errors of OpenSSL (x509_vfy.h) that a wrong clock causes.
_NOT_YET_VALID, _EXPIRED = 9, 10


class Attempt:
    """The step, the addresses and the timeout of an attempt, to explain its failure."""

    __slots__ = ("proxy", "scheme", "server", "step", "timeout")

    def __init__(self, scheme: str, server: str, timeout: float) -> None:
        self.scheme = scheme
        self.server = server
        self.timeout = timeout
        self.proxy: Proxy | None = None
        self.step = CONNECT

    def explain(self, error: Exception) -> Failure:
        """Return why no answer came; the text of the error is foreign, so it is escaped."""
        if isinstance(error, (Misconfigured, ProxyRefusal)):
            text = _get_text(error)
            if self.proxy is None:
                text = f"cannot reach {self.server}: {text}"
                return Failure(text, self._check_proxy, AT_ONCE, self.server)
            return Failure(text, self._check_proxy, AT_ONCE, self.proxy.address)
        if self.step == EXCHANGE:
            return Failure(self._explain_exchange(error), DOCTOR, AFTER_TWO, self.server)
        patience = AFTER_TWO if isinstance(error, TimeoutError) else AT_ONCE
        detail, hint = self._explain_opening(error)
        if self.proxy is None:
            return Failure(f"cannot reach {self.server} ({detail})", hint, patience, self.server)
        if self.step in (CONNECT, TUNNEL):
            text = f"cannot reach the proxy {self.proxy.address} for {self.server} ({detail})"
            return Failure(text, self._check_proxy, patience, self.proxy.address)
        text = f"cannot reach {self.server} through the proxy {self.proxy.address} ({detail})"
        return Failure(text, hint, patience, self.server)

    def _explain_exchange(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"no answer from {self._peer} within {self.timeout:.3g} s"
        return f"no answer from {self._peer} ({_get_detail(error)})"

    def _explain_opening(self, error: Exception) -> tuple[str, str]:
        """Return why there is no connection, and the next step."""
        if self.step == ENCRYPT:
            return _explain_tls(error, self.timeout)
        if isinstance(error, TimeoutError):
            is_dns = isinstance(error, LookUpTimeoutError)
            what = "DNS: no answer" if is_dns else "no connection"
            return f"{what} within {self.timeout:.3g} s", DOCTOR
        if isinstance(error, socket.gaierror):
            return f"DNS: {_get_detail(error)}", f"check the name of the host; {DOCTOR}"
        return _get_detail(error), DOCTOR

    @property
    def _check_proxy(self) -> str:
        """The next step for a proxy, with the environment variable as the user spelled it."""
        return f"check {get_variable(self.scheme) or 'the proxy'} and NO_PROXY; {DOCTOR}"

    @property
    def _peer(self) -> str:
        return name_peer(self.server, self.proxy)


def name_peer(server: str, proxy: Proxy | None) -> str:
    """Return how messages name the server, with the proxy in between if there is one."""
    return server if proxy is None else f"{server} through the proxy {proxy.address}"


def _explain_tls(error: Exception, timeout: float) -> tuple[str, str]:
    import ssl  # imported already: this step needs it

    if isinstance(error, TimeoutError):
        return f"TLS: no handshake within {timeout:.3g} s", DOCTOR
    if not isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {_get_detail(error)}", DOCTOR
    hint = "for a private certificate authority, set SSL_CERT_FILE or ssl_context"
    if error.verify_code in (_NOT_YET_VALID, _EXPIRED):
        hint = "check this machine's clock"
    message = printable(error.verify_message.rstrip("."), _LONGEST_TEXT)
    return f"TLS: certificate verify failed: {message}", f"{hint}; {DOCTOR}"


def _get_detail(error: Exception) -> str:
    """Return the reason of an error: OpenSSL's in plain words, else the system's text."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, str):  # an `SSLError` has one, such as WRONG_VERSION_NUMBER
        return printable(reason.replace("_", " ").lower(), _LONGEST_TEXT)
    code = getattr(error, "errno", None)
    if code == errno.ECONNREFUSED:
        return "connection refused"
    text = getattr(error, "strerror", None)
    return printable(text[:1].lower() + text[1:], _LONGEST_TEXT) if text else _get_text(error)


def _get_text(error: Exception) -> str:
    return printable(str(error) or type(error).__name__, _LONGEST_TEXT)
