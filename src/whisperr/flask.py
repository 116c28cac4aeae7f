"""The Flask integration: `current.track(...)`, for the user of the request.

    from whisperr.flask import Whisperr, current

    Whisperr(app, resolve_user=lambda: session.get("user_id"))

    @app.post("/upgrade")
    def upgrade():
        current.track("plan_upgraded")

One client for each application, made from `WHISPERR_*` in its config. The guide is
docs/frameworks/flask.md.

`Whisperr` is here the extension, as Flask's extensions are called. The client, `whisperr.Whisperr`,
is called `Client` in this module.
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
    """The extension: `Whisperr(app)`, or `Whisperr()` and later `init_app(app)`.

    It is not the client of the same name, `whisperr.Whisperr`: it gives an application its client.

    - `client`: a client that all applications of this extension share. None: each application
      gets one of its own, from WHISPERR_API_KEY and WHISPERR_<OPTION> in its config.
    - `resolve_user`: a function without parameters that returns the id of the request's user,
      None for an anonymous visitor. Left out: Flask-Login's user.

    The resolver is called when something is tracked, never before.
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
        """Give an application its client. Raises ValueError that names what is wrong.

        A missing key stops no command of `flask` but `run`: the client is a disabled one there, and
        the log says so.
        """
        client = self._client or _make_client(app.config)
        app.extensions[_NAME] = _RequestTracker(lambda: client, self._resolve)


class _RequestTracker(UserTracker):
    """The tracker of whichever request is running."""

    __slots__ = ()

    def _explain_no_user(self) -> str:
        if not has_request_context():
            return "no request is running, so there is no user; track with current.client"
        return super()._explain_no_user()


def _current() -> UserTracker:
    tracker = current_app.extensions.get(_NAME)
    if not isinstance(tracker, UserTracker):
        raise RuntimeError(  # noqa: TRY004  # it is the extension that is missing
            f"the application {current_app.name!r} has no whisperr: Whisperr(app)"
        )
    return tracker


current: UserTracker = LocalProxy(_current)  # type: ignore[assignment]  # a proxy of one
"""The tracker of the current application: `track`, `identify`, `user_id`, and its `client`."""


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
    """Return whether a command of `flask` makes the application, one that is not a server.

    Other servers have commands of click, too, but not the object of Flask's own.
    """
    context = get_current_context(silent=True)
    if context is None or context.find_object(ScriptInfo) is None:
        return False
    return context.command is not run_command


def _login_user() -> object:
    """Return the id that Flask-Login keeps of the user, None for an anonymous one."""
    login = sys.modules.get("flask_login")  # looked up: it may not be installed
    if login is None or not hasattr(current_app, "login_manager"):
        raise InvalidEvent(
            "external_user_id: there is neither a resolve_user nor Flask-Login to read the user"
        )
    user = login.current_user if has_request_context() else None
    return user.get_id() if user is not None and user.is_authenticated else None
