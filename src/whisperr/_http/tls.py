"""The TLS context of this process, which all clients without one of their own share.

Making one reads the certificates of all known authorities: some 20 ms of computing and 1 MB. It
holds no connection, and no client resumes a session of another: `ssl` does so only when asked to.

Threads: any. One makes it while the others wait; so does a fork of the process.
"""

from __future__ import annotations

import os

from whisperr._process.imports import first_use

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

    State = tuple[object, ...]

# What OpenSSL and Python read when a context is made.
_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")

_made: tuple[State, ssl.SSLContext] | None = None


def get_default_context() -> ssl.SSLContext:
    """Return a context that trusts the authorities of this system; nothing may change it.

    Another one is made once the environment names other files, or their content has changed.
    """
    global _made  # noqa: PLW0603  # one context a process
    with first_use():
        import ssl
        from _ssl import get_default_verify_paths  # that of `ssl` also looks whether they exist

        variable, default, *_ = get_default_verify_paths()
        # `gevent` and `truststore` put classes of their own into `ssl`, maybe after the first use.
        state = _get_state(os.environ.get(variable) or default), ssl.SSLContext
        if _made is None or _made[0] != state:
            _made = state, ssl.create_default_context()
        return _made[1]


def _get_state(file: str) -> State:
    """Return what a context is made from: variables, and the file of the authorities."""
    named = tuple(map(os.environ.get, _VARIABLES))
    try:
        found = os.stat(file)  # noqa: PTH116  # without the import of `pathlib`
    except OSError:  # there is none
        return named
    return (*named, found.st_mtime_ns, found.st_size, found.st_ino)
