"""Step 7, for https: the secure connection. By itself: `ssl` is a third of what https imports.

Threads: used by the one that drives the worker.
"""

from __future__ import annotations

import ssl

from .response import left_until

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

# What says that the other side has closed, and that nothing can be read or sent yet.
ENDED = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
NOT_YET = (ssl.SSLWantReadError, ssl.SSLWantWriteError)

default_context = ssl.create_default_context


def secured(
    plain: socket.socket, host: str, context: ssl.SSLContext, deadline: float
) -> ssl.SSLSocket:
    """Return the connection after its handshake; `plain` is closed when that fails."""
    try:
        secure = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
    except BaseException:
        plain.close()
        raise
    try:
        secure.settimeout(left_until(deadline))
        secure.do_handshake()
    except BaseException:
        secure.close()
        raise
    return secure
