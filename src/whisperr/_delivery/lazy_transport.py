"""The HTTP transport, imported on first use, because that costs more than all our other imports.

If the process has already imported what the transport needs of the standard library, it is imported
at once. If not, the program's files may be gone by its first use. So the transport's code is read
at once, the delivery thread imports the rest when it starts, and a missing module is reported.
"""

from __future__ import annotations

import sys

from whisperr._process.imports import first_use, import_kept, keep_code
from whisperr._process.logger import log

from .description import UNKNOWN
from .reporter import get_raise_site

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from whisperr._contract import Answer, Failure, Request
    from whisperr._http.transport import HttpTransport
    from whisperr._options import Config

_TRANSPORT = "whisperr._http.transport"
# Our own modules that a request needs.
HTTP_MODULES = (
    "connection",
    "connector",
    "encoding",
    "explanation",
    "proxy",
    "readiness",
    "resolver",
    "response",
    "tls",
    "transport",
)
_FILES_GONE = "if the files of this program have been replaced or deleted, restart the process"


class LazyTransport:
    """The HTTP transport, made with its first request."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._http: HttpTransport | None = None
        if "socket" not in sys.modules:
            keep_code("whisperr._http", HTTP_MODULES)
            return
        # As in most servers. Only our own modules are missing, and importing them here takes a
        # millisecond. In the delivery thread each import would wait for a busy main thread.
        try:
            import_kept(_TRANSPORT)
        except ImportError:  # reported by the request that needs it
            return

    def load(self) -> None:
        """Import all modules that a request needs."""
        import_kept(_TRANSPORT)
        if self._config.base_url.startswith("https:"):
            with first_use():
                import ssl  # noqa: F401  # the transport imports it again

    def send(self, request: Request, timeout: float) -> Answer:
        if self._http is None:
            try:
                make = import_kept(_TRANSPORT).HttpTransport
            except ImportError as error:
                raise OSError(f"{error}; {_FILES_GONE}") from error
            config = self._config
            self._http = make(config.base_url, config.key, ssl_context=config.ssl_context)
        return self._http.send(request, timeout)

    @property
    def peer(self) -> str:
        """The host and port that answered the last request, for messages."""
        return UNKNOWN.peer if self._http is None else self._http.peer

    @property
    def host(self) -> str | None:
        """The host and port of the service; None until a request was made."""
        return None if self._http is None else self._http.host

    @property
    def base_url(self) -> str:
        """The address of the service; it contains no password."""
        return self._config.base_url

    def explain(self, error: Exception) -> Failure:
        """Return why the last request got no answer."""
        return (UNKNOWN if self._http is None else self._http).explain(error)

    def close(self) -> None:
        if self._http is not None:
            self._http.close()

    def close_in_child(self) -> None:
        if self._http is not None:
            self._http.close_in_child()


def to_load(http: LazyTransport | None) -> Callable[[], None]:
    """Return a function that imports all that delivery needs, while the files exist."""

    def load() -> None:
        try:
            if http is not None:
                http.load()
        except Exception as error:  # noqa: BLE001  # reported by the request that needs it
            log("debug", "an import failed: %s", get_raise_site(error))

    return load
