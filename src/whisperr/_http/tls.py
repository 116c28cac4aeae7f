"""The TLS context that all clients of a process share, unless they were given their own.

Creating one parses the certificates of all known authorities, which takes about 20 ms and 1 MB. A
context holds no connection, and `ssl` resumes sessions only on request, so clients share none.

Threads: any. One creates the context while the others, and a fork of the process, wait.
"""

from __future__ import annotations

import os

from whisperr._process.imports import first_use

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

    State = tuple[object, ...]

# What OpenSSL and Python read when a context is created.
_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")

_made: tuple[State, ssl.SSLContext] | None = None


def get_default_context() -> ssl.SSLContext:
    """Return a context that trusts the system's authorities; callers must not change it.

    A new one is created if the environment variables or the authorities' file have changed.
    """
    global _made  # noqa: PLW0603  # one context a process
    with first_use():
        import ssl
        from _ssl import get_default_verify_paths  # that of `ssl` also checks whether they exist

        variable, default, *_ = get_default_verify_paths()
        # `gevent` and `truststore` replace classes in `ssl`, maybe after the first use.
        state = _get_state(os.environ.get(variable) or default), ssl.SSLContext
        if _made is None or _made[0] != state:
            _made = state, ssl.create_default_context()
        return _made[1]


def _get_state(file: str) -> State:
    """Return what a context depends on: environment variables, and the authorities' file."""
    named = tuple(map(os.environ.get, _VARIABLES))
    try:
        found = os.stat(file)  # noqa: PTH116  # without the import of `pathlib`
    except OSError:  # there is none
        return named
    return (*named, found.st_mtime_ns, found.st_size, found.st_ino)
