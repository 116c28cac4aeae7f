"""Checks the TLS handshake, and finds out why a certificate is not trusted."""

from __future__ import annotations

import os
import ssl
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from whisperr._http.tls import get_default_context
from whisperr._process.interruption import is_interruption

from .certificate import get_issuer
from .findings import Finding, find, to_duration
from .target import describe, took

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from whisperr._http.connection import Connection

    from .target import Addresses, Target

# Codes of OpenSSL, X509_V_ERR_...
_NOT_VALID_NOW = (9, 10)
_OTHER_NAME = (62, 64)
_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)
# Errors of OpenSSL that mean that the other side does not speak TLS.
_NO_TLS = {
    "HTTP_REQUEST",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
    "UNEXPECTED_MESSAGE",
    "UNKNOWN_PROTOCOL",
    "WRONG_VERSION_NUMBER",
}
_CERT_FILE = "SSL_CERT_FILE"


def inspect_encryption(
    target: Target,
    addresses: Addresses,
    connection: Connection,
    context: ssl.SSLContext | None,
) -> Finding:
    """Do a TLS handshake on the connection, as the client does; return the finding.

    If the authority is unknown, a second connection reads who issued the certificate.
    """
    began = time.monotonic()
    try:
        used = context or get_default_context()
        connection.encrypt(used, target.server, target.deadline)
    except OSError as error:
        if is_interruption(error):
            raise
        if getattr(error, "verify_code", 0) in _UNKNOWN_AUTHORITY:
            issuer = _find_issuer(target, addresses)
            return _to_unknown_authority(target, error, issuer, has_own=context is not None)
        return _to_failure(target, error)
    version, certificate, _ = connection.get_session()
    return Finding(
        "encryption", "ok", f"{version}{_describe_certificate(certificate)}{took(began)}"
    )


def _to_failure(target: Target, error: OSError) -> Finding:
    if isinstance(error, ssl.SSLCertVerificationError):
        text = f"the certificate of {target.server}: {error.verify_message}"
        if error.verify_code in _NOT_VALID_NOW:
            now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
            return find("certificate_dates", f"{text} (this machine's clock: {now})")
        return find("certificate_name" if error.verify_code in _OTHER_NAME else "tls_failed", text)
    if isinstance(error, TimeoutError):
        return find("tls_failed", f"the handshake did not end within {to_duration(target.timeout)}")
    reason = getattr(error, "reason", None)
    if reason in _NO_TLS:
        return find("no_tls", f"{target.address} does not speak TLS ({reason})")
    return find("tls_failed", f"the handshake: {reason or describe(error)}")


def _to_unknown_authority(
    target: Target, error: OSError, issuer: str | None, *, has_own: bool
) -> Finding:
    code, why = _get_authorities(has_own=has_own)
    message = getattr(error, "verify_message", "")
    by = f" (issued by {issuer})" if issuer else ""
    return find(code, f"the certificate of {target.server}{by}: {message}{why}")


def _find_issuer(target: Target, addresses: Addresses) -> str | None:
    """Return the issuer of the certificate. Sends only a handshake, and trusts nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        connection, _ = target.connect(addresses)
        with closing(connection):
            target.ask_for_tunnel(connection)
            connection.encrypt(context, target.server, target.deadline)
            _, _, der = connection.get_session()
    except OSError as error:
        if is_interruption(error):
            raise
        return None
    return get_issuer(der)


def _get_authorities(*, has_own: bool) -> tuple[str, str]:
    """Return why the authority is unknown: a code of HINTS, and the end of the text."""
    if has_own:
        return "own_context", ", according to the `ssl_context` option"
    named, paths = os.environ.get(_CERT_FILE), ssl.get_default_verify_paths()
    if named and not Path(named).is_file():
        return "no_cert_file", f"; {_CERT_FILE} is {named}, which is not a file"
    if not named and paths.cafile is None and paths.capath is None:
        return "no_authorities", "; this machine has no CA certificates"
    return "unknown_authority", ""


def _describe_certificate(certificate: Mapping[str, object]) -> str:
    """Return how long a certificate is valid, and its issuer; empty if it was not verified."""
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
