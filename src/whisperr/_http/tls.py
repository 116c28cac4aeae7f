"""Encrypts a connection with TLS. A module of its own, because importing `ssl` is slow.

Threads: used by the delivery thread.
"""

from __future__ import annotations

import ssl

from .response import get_seconds_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

# The exceptions of TLS for a connection that the server has closed, and for one that is not ready.
CLOSED = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
NOT_READY = (ssl.SSLWantReadError, ssl.SSLWantWriteError)

default_context = ssl.create_default_context


def wrap_tls(
    plain: socket.socket, host: str, context: ssl.SSLContext, deadline: float
) -> ssl.SSLSocket:
    """Return the encrypted connection after its handshake; closes `plain` when that fails."""
    try:
        encrypted = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
    except BaseException:
        plain.close()
        raise
    try:
        encrypted.settimeout(get_seconds_left(deadline))
        encrypted.do_handshake()
    except BaseException:
        encrypted.close()
        raise
    return encrypted
