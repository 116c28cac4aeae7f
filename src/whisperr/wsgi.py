"""The WSGI integration: a tracker for the user of each request.

It needs no framework::

    application = WhisperrMiddleware(application, resolve_user=get_user)

    def application(environ, start_response):
        environ["whisperr.tracker"].track("export_failed", {"rows": 120})
        ...

The name of the tracker has a dot, because `wsgiref.validate` requires that of values that are not
text.

WSGI does not tell an application that its server ends (PEP 3333). The client delivers queued events
at Python's exit, which gunicorn, granian and uWSGI run in each worker. waitress and the development
servers need a handler of SIGTERM; the first request logs that once.

.. versionadded:: 1.0
"""

# Threads: those of the server.

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING, Any

from ._contract import PAGES_URL
from ._integrations.client import get_client_factory, require_client
from ._integrations.tracker import UserTracker
from ._options import OVERRIDES
from ._platform import WINDOWS
from ._process.logger import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ._client import Whisperr

    # Every framework has types of its own for the two arguments of WSGI.
    App = Callable[[dict[str, Any], Any], Iterable[bytes]]

__all__ = ["UserTracker", "WhisperrMiddleware"]

_NAME = "whisperr.tracker"  # of the tracker in `environ`
# Servers that SIGTERM ends without `atexit`: tests/hosts and tests/wsgi show it. In others the
# default handler proves nothing, because uWSGI handles signals in C.
_WITHOUT_EXIT = {"waitress", "WSGIServer", "Werkzeug"}


class WhisperrMiddleware:
    """Gives every request a `UserTracker`: `environ["whisperr.tracker"]`.

    Everything else passes through: `start_response`, the response and exceptions.

    Example::

        application = WhisperrMiddleware(application, resolve_user=get_user)

    Args:
        app: The WSGI application to wrap.
        client: A client, or a function that returns one. None: one client for the process, made
            from the environment.
        resolve_user: A function that takes `environ` and returns the user's id, or None for an
            anonymous visitor. It is called when something is tracked, so it sees what later
            middlewares and the application have put into `environ`. None: `REMOTE_USER`, the user
            that a server or a middleware has authenticated.

    Raises:
        MissingKey: `client` is None and the environment has no key. It is a ValueError.
        ValueError: A variable has a wrong value.
    """

    def __init__(
        self,
        app: App,
        client: Whisperr | Callable[[], Whisperr] | None = None,
        *,
        resolve_user: Callable[[dict[str, Any]], object] | None = None,
    ) -> None:
        self._app = app
        self._get_client = get_client_factory(client)
        self._resolve = _get_remote_user if resolve_user is None else resolve_user
        self._is_server_known = not require_client(client).enabled

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Serve one request, as WSGI asks."""
        if not self._is_server_known:
            self._is_server_known = True
            _inspect_server(environ)
        environ[_NAME] = UserTracker(self._get_client, partial(self._resolve, environ))
        return self._app(environ, start_response)


def _inspect_server(environ: dict[str, Any]) -> None:
    """Report that nothing delivers when this server ends, if that is so."""
    server = str(environ.get("SERVER_SOFTWARE")).partition("/")[0]  # without its version
    if (
        not WINDOWS  # where services are not stopped by signals
        and server in _WITHOUT_EXIT
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        and OVERRIDES.pipeline is None
    ):
        log(
            "warning",
            "SIGTERM ends %s without Python's exit: queued events are lost then; handle the signal "
            "as described in %sdelivery/processes.md",
            server,
            PAGES_URL,
        )


def _get_remote_user(environ: dict[str, Any]) -> str | None:
    """Return the authenticated user (RFC 3875, 4.1.11)."""
    return environ.get("REMOTE_USER") or None
