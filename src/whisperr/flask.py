"""The Flask integration: `current.track(...)` tracks for the user of the request.

Example::

    from whisperr.flask import Whisperr, current

    Whisperr(app, resolve_user=lambda: session.get("user_id"))

    @app.post("/upgrade")
    def upgrade():
        current.track("plan_upgraded")
        return "done"

In this module, `Whisperr` is the Flask extension and not the client of the same name. The extension
makes a client, a `whisperr.Whisperr`, for each application.

.. versionadded:: 1.0
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

try:
    from flask import current_app, has_request_context
    from flask.cli import ScriptInfo, run_command
except ModuleNotFoundError as _missing:
    if _missing.name != "flask":
        raise
    raise ImportError("whisperr.flask needs Flask: pip install 'whisperr[flask]'") from _missing

from click import get_current_context  # what the commands of Flask are made with
from werkzeug.local import LocalProxy

from ._client import Whisperr as Client
from ._integrations.client import API_KEY, SettingsReader, report_missing_key
from ._integrations.tracker import UserTracker
from .errors import InvalidEvent, MissingKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

__all__ = ["UserTracker", "Whisperr", "current"]

_NAME = "whisperr"


class Whisperr:
    """The Flask extension, which makes a client for an application.

    Pass the application, or call `init_app` later.

    Args:
        app: The application. None: call `init_app` for each application.
        client: A client that all applications of this extension share. None: each application
            gets its own, from `WHISPERR_API_KEY` and `WHISPERR_<OPTION>` in its config.
        resolve_user: A function without parameters that returns the id of the request's user, or
            None for an anonymous visitor. It is called when something is tracked. None: the user
            of Flask-Login.

    Raises:
        ValueError: As in `init_app`.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        client: Client | None = None,
        resolve_user: Callable[[], object] | None = None,
    ) -> None:
        self._client = client
        self._resolve = resolve_user or _login_user
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Make the client of an application.

        Args:
            app: The application, whose config has the settings.

        Raises:
            ValueError: A setting is wrong; the text names it and says what is allowed. A missing
                key is a `MissingKey`, which is a ValueError. In commands of `flask` other than
                `flask run` a missing key raises nothing: the client is disabled, and the log says
                so.
        """
        client = self._client or _make_client(app.config)
        app.extensions[_NAME] = _RequestTracker(lambda: client, self._resolve)


class _RequestTracker(UserTracker):
    """The tracker of the running request."""

    __slots__ = ()

    def _explain_no_user(self) -> str:
        if not has_request_context():
            return "no request is running, so there is no user; track with current.client"
        return super()._explain_no_user()


def _current() -> UserTracker:
    tracker = current_app.extensions.get(_NAME)
    if not isinstance(tracker, UserTracker):
        raise RuntimeError(  # noqa: TRY004  # it is the extension that is missing
            f"the application {current_app.name!r} has no client: call whisperr.flask.Whisperr(app)"
        )
    return tracker


current: UserTracker = LocalProxy(_current)  # type: ignore[assignment]  # a proxy of one
"""The tracker of the running request, with `track`, `identify`, `user_id` and `client`.

It belongs to the current application, so it needs an application context.
"""


def _make_client(config: dict[str, Any]) -> Client:
    settings = SettingsReader(config.get)
    for name, near in settings.find_unknown(config):
        hint = f"; did you mean {near}?" if near else ""
        warnings.warn(f"{name} is not a setting of whisperr{hint}", UserWarning, stacklevel=4)
    options = settings.read()
    try:
        return Client(config.get(API_KEY), **options)
    except MissingKey:
        if not _is_in_command():
            raise
        report_missing_key()
        return Client(**{**options, "disabled": True})


def _is_in_command() -> bool:
    """Return whether a `flask` command other than `flask run` makes the application.

    Other servers also have click commands, but their context has no `ScriptInfo`.
    """
    context = get_current_context(silent=True)
    if context is None or context.find_object(ScriptInfo) is None:
        return False
    return context.command is not run_command


def _login_user() -> object:
    """Return the user id of Flask-Login, None for an anonymous visitor."""
    login = sys.modules.get("flask_login")  # looked up: it may not be installed
    if login is None or not hasattr(current_app, "login_manager"):
        raise InvalidEvent(
            "external_user_id: there is neither a resolve_user nor Flask-Login to read the user"
        )
    user = login.current_user if has_request_context() else None
    return user.get_id() if user is not None and user.is_authenticated else None
