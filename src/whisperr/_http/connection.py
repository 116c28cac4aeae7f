"""One open connection, plain or encrypted. Every wait ends by the deadline of the attempt.

The socket is non-blocking and this module waits, so that an early answer is noticed while a request
is still being sent. `send` tries before it waits: each system call releases the interpreter lock,
and taking it back interrupts a main thread that computes.

A peer that closes during a request must not end the process by SIGPIPE. Python ignores that signal,
but programs restore its default action. So plain sockets do not raise it (on macOS by an option
that the connector sets), and it is blocked in the calling thread while OpenSSL writes, as in libpq.

Threads: used by one thread at a time; a forked child calls `close_in_child`.
"""

from __future__ import annotations

import socket
import sys

from whisperr._process.imports import first_use
from whisperr._process.interruption import is_interruption

from .readiness import READ, WRITE, get_seconds_left, wait_ready
from .resolver import encode_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    import ssl
    from collections.abc import Callable, Mapping
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")
else:
    import _signal as signal  # `signal` adds only enumerations, and is one more import

_RECV_BYTES = 16 * 1024
_NO_SIGPIPE = getattr(socket, "MSG_NOSIGNAL", 0)


class Connection:
    """Sends and receives bytes by a deadline (monotonic). `unread`: received, not yet parsed."""

    __slots__ = ("_is_encrypted", "_socket", "_want_read", "_want_write", "closed_errors", "unread")

    def __init__(self, connected: socket.socket) -> None:
        """Use a connected socket, which must be in non-blocking mode."""
        self._socket = connected
        self._is_encrypted = False
        self._want_read: tuple[type[OSError], ...] = (BlockingIOError,)
        self._want_write: tuple[type[OSError], ...] = (BlockingIOError,)
        # The exceptions for a connection that the peer has closed.
        self.closed_errors: tuple[type[OSError], ...] = (ConnectionError,)
        self.unread = bytearray()

    def encrypt(self, context: ssl.SSLContext, host: str, deadline: float) -> None:
        """Do the client's side of a TLS handshake; the certificate must name `host`."""
        with first_use():
            import ssl
        self.closed_errors = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
        self._want_read = (ssl.SSLWantReadError,)
        self._want_write = (ssl.SSLWantWriteError,)
        name: str | bytes = encode_host(host)
        if type(context).__module__ != "ssl":
            name = host  # the context of another library expects text
        encrypted = context.wrap_socket(
            self._socket, server_hostname=name, do_handshake_on_connect=False
        )
        self._socket = encrypted
        self._is_encrypted = True
        while flags := self._continue_handshake(encrypted):
            self._wait(flags, deadline)

    def get_session(self) -> tuple[str, Mapping[str, object], bytes]:
        """Return the TLS version, and the server's certificate as decoded by `ssl` and in DER.

        The decoded one is empty if it was not verified; all are empty without encryption.
        """
        if not self._is_encrypted:
            return "", {}, b""
        encrypted: ssl.SSLSocket = self._socket  # type: ignore[assignment]  # `encrypt` has set it
        version, der = encrypted.version() or "", encrypted.getpeercert(binary_form=True) or b""
        return version, encrypted.getpeercert() or {}, der

    def _continue_handshake(self, encrypted: ssl.SSLSocket) -> int:
        """Continue the handshake without waiting; return what to wait for, 0 when done."""
        try:
            _without_sigpipe(encrypted.do_handshake)
        except self._want_read:
            return READ
        except self._want_write:
            return WRITE
        return 0

    def send(
        self, message: memoryview, deadline: float, is_answered: Callable[[bytearray], bool]
    ) -> bool:
        """Send everything; return False if the peer answers before it has received all of it.

        `is_answered` gets the bytes received so far and returns whether an answer begins there.
        """
        while message:
            sent, wanted = self._send_some(message)
            if not sent and READ & self._wait(wanted, deadline):
                # The peer may have answered and stopped reading.
                piece = self._receive_some()
                if piece == b"":
                    raise ConnectionResetError("the server closed the connection during a request")
                self.unread += piece or b""
                if piece and is_answered(self.unread):
                    return False
            message = message[sent:]
        return True

    def receive(self, deadline: float) -> bytes:
        """Return the next bytes; empty if the peer has closed its side."""
        if not self._is_encrypted:  # OpenSSL may have decrypted bytes already
            self._wait(READ, deadline)
        while (piece := self._receive_some()) is None:
            self._wait(READ, deadline)
        return piece

    def is_idle(self) -> bool:
        """Return whether a kept connection can be used: it is open, and nothing was received.

        A server may send a 408 before it closes an idle connection, which must not be read as the
        answer to the next request.
        """
        try:
            return self._receive_some() is None
        except OSError as error:
            if is_interruption(error):
                raise
            return False

    def close(self) -> None:
        self._socket.close()

    def close_in_child(self) -> None:
        """Close an inherited connection in a forked child, without sending anything.

        Closes only the descriptor: TLS's closing message would end the parent's session.
        """
        socket.close(self._socket.detach())

    def _send_some(self, message: memoryview) -> tuple[int, int]:
        """Return how many bytes were sent and, if none, what to wait for."""
        try:
            if self._is_encrypted:
                sent = _without_sigpipe(self._socket.send, message)
            else:
                sent = self._socket.send(message, _NO_SIGPIPE)
        except self._want_write:
            sent = 0
        except self._want_read:  # TLS has to receive something first
            return 0, READ
        return sent, READ | WRITE  # gevent returns 0 if the socket's buffer is full

    def _receive_some(self) -> bytes | None:
        """Return the bytes that have arrived, None if there are none, b"" if the peer closed."""
        try:
            return self._socket.recv(_RECV_BYTES)
        except (*self._want_read, *self._want_write):
            return None

    def _wait(self, flags: int, deadline: float) -> int:
        """Wait until one of the flags is possible, and return it; raise TimeoutError."""
        ready = wait_ready({self._socket: flags}, get_seconds_left(deadline))
        if not ready:
            raise TimeoutError("no complete answer within request_timeout")
        return ready[self._socket]


def _without_sigpipe(act: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """Call something that writes to a socket, with SIGPIPE blocked if it would end the process."""
    if sys.platform == "win32" or sys.platform == "darwin":  # as mypy reads it
        return act(*given, **named)
    if not hasattr(signal, "sigtimedwait") or signal.getsignal(signal.SIGPIPE) != signal.SIG_DFL:
        return act(*given, **named)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGPIPE,))
        return act(*given, **named)
    finally:
        if signal.SIGPIPE not in before:
            signal.sigtimedwait((signal.SIGPIPE,), 0)  # consume one that was raised meanwhile
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
