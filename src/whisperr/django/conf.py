"""Reads the settings, WHISPERR_<OPTION> for every option, and makes the client of the process.

Settings are read on each use; only the client is kept.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from whisperr import Whisperr
from whisperr._delivery.pipeline import resolve_buffer
from whisperr._integrations.client import API_KEY, DefaultClient, SettingsReader, get_setting_name
from whisperr._options import OPTIONS, OUTBOX, Config, Option, get_flag
from whisperr._process.interruption import is_interruption
from whisperr._secret import Secret
from whisperr.errors import MissingKey

from .outbox.buffer import OUTBOX_DATABASE, OutboxBuffer

if TYPE_CHECKING:
    from collections.abc import Callable

RESOLVE_USER = "WHISPERR_RESOLVE_USER"
USER_OF = "WHISPERR_BILLING_USER_OF"
STRIPE_SECRET = "WHISPERR_STRIPE_WEBHOOK_SECRET"  # noqa: S105  # the name of a setting
_NOT_OF_THE_CLIENT = (RESOLVE_USER, USER_OF, STRIPE_SECRET)
DISABLED = "WHISPERR_DISABLED"
_WAYS_OUT = (
    "Set it in the settings to a server key (wrk_...) from the Whisperr dashboard, or in the "
    'environment; to try it without one, run "whisperr dev -- python manage.py {}"; to send '
    f"nothing, set {DISABLED} = True, or {DISABLED}=1 in the environment"
)


class _DjangoSettings(SettingsReader):
    """Django's settings, in which a dotted path stands for the object that it names."""

    def read(self) -> dict[str, Any]:
        options = super().read()
        if options.get("buffer") is None and os.environ.get("WHISPERR_BUFFER") == OUTBOX:
            options["buffer"] = OutboxBuffer()  # the client itself refuses the name
        return options

    def convert(self, option: Option, value: object) -> object:
        if option.name == "buffer" and value == OUTBOX:
            return OutboxBuffer()
        if isinstance(value, str) and option.default is None and not option.check(value):
            return _make(_import(get_setting_name(option), value), option)
        return value


SETTINGS = _DjangoSettings(
    partial(getattr, settings), (OUTBOX_DATABASE, *_NOT_OF_THE_CLIENT), ImproperlyConfigured
)


def get_outbox_database() -> str | None:
    """Return the outbox's database alias in the settings, None if the routers decide."""
    buffer = SETTINGS.read().get("buffer")
    using = buffer.using if isinstance(buffer, OutboxBuffer) else None
    return using or getattr(settings, OUTBOX_DATABASE, None)


def get_key() -> Secret:
    """Return the key from the settings, or else from the environment, wrapped."""
    return Secret(getattr(settings, API_KEY, None)).or_environment()


def is_disabled(given: object) -> bool:
    """Return whether a client with this option is disabled; raises ImproperlyConfigured."""
    try:
        return get_flag("disabled", given=bool(given))
    except ValueError as error:
        raise ImproperlyConfigured(f"whisperr: {error}") from None


def new_client(command: str = "runserver", **changed: object) -> Whisperr:
    """Make a client from the settings for a manage.py command; `changed` replaces options.

    Raises ImproperlyConfigured, which names the fix, for a missing key or a wrong setting.
    """
    try:
        return _new_client(**changed)
    except MissingKey:
        raise _to_improperly_configured(get_key(), command) from None


def require_settings_client() -> Whisperr:
    """Return the client of this process when a server starts.

    Raises ImproperlyConfigured, which names the fix, for a missing key or a wrong setting.
    """
    try:
        return _client.require()
    except MissingKey:
        raise _to_improperly_configured(get_key()) from None


def get_settings_client() -> Whisperr:
    """Return the client of this process, which the first call makes from the settings.

    The middleware makes it when the application starts, so that mistakes are found then. Without a
    key, a command, migration, signal receiver or task gets a disabled client, and the log says so
    once. Any thread may call this function.

    Example::

        get_client().track(user.pk, "subscription_cancelled", {"reason": "price"})

    Returns:
        The client, the same one for every caller in the process.

    Raises:
        django.core.exceptions.ImproperlyConfigured: A setting is wrong. The text names the setting
            and what is allowed.
    """
    return _client.get()


def _new_client(**changed: object) -> Whisperr:
    options: dict[str, Any] = {**SETTINGS.read(), **changed}
    key = get_key()
    if key.problem is not None and not key.is_missing and not is_disabled(options.get("disabled")):
        raise _to_improperly_configured(key)
    try:
        return Whisperr(getattr(settings, API_KEY, None), **options)
    except MissingKey:
        raise
    except ValueError as error:  # such as a wrong address in the environment
        raise ImproperlyConfigured(f"whisperr: {error}") from None


def _to_improperly_configured(key: Secret, command: str = "runserver") -> ImproperlyConfigured:
    problem = (key.problem or "").partition(";")[0]
    reason = f"{API_KEY}: {problem}" if key.is_given else f"{API_KEY} is not set"
    return ImproperlyConfigured(f"{reason}. {_WAYS_OUT.format(command)}")


def _make_client() -> Whisperr:
    client = _new_client()
    if "celery" in sys.modules:  # not imported, so that a site without Celery pays nothing
        # Deliver when Celery ends its processes, unless the project has called `connect` itself.
        from whisperr.celery import connect_unless_connected

        connect_unless_connected(get_settings_client)
    return client


_client = DefaultClient(
    _make_client, lambda: _new_client(disabled=True), "python manage.py whisperr_check"
)


def _discard_after_a_change(*, setting: str, **_: object) -> None:
    """Shut the client down when a test changes a setting; the next use makes a new client."""
    is_of_client = setting in SETTINGS.known.difference(_NOT_OF_THE_CLIENT)
    client = _client.clear() if is_of_client else None
    if client is not None:
        client.shutdown()


setting_changed.connect(_discard_after_a_change, dispatch_uid="whisperr.django.client")


def config() -> Config:
    """Return the checked options of the settings; raises ImproperlyConfigured or ValueError."""
    defaults = {option.name: option.default for option in OPTIONS}
    return resolve_buffer(Config({**defaults, **SETTINGS.read(), "api_key": get_key()}))


def get_resolver() -> Callable[[Any], Any] | None:
    """Return the function that WHISPERR_RESOLVE_USER names, None without that setting.

    Raises ImproperlyConfigured if it cannot be imported or called.
    """
    return _get_function(RESOLVE_USER, "a request")


def get_user_function() -> Callable[[str], object] | None:
    """Return the function that WHISPERR_BILLING_USER_OF names, None without that setting.

    Raises ImproperlyConfigured if it cannot be imported or called.
    """
    return _get_function(USER_OF, "the provider's id of a customer")


def _get_function(name: str, argument: str) -> Callable[[Any], Any] | None:
    value = getattr(settings, name, None)
    if value is None:
        return None
    found: object = _import(name, value) if isinstance(value, str) else value
    if not callable(found):
        raise ImproperlyConfigured(
            f"{name} = {value!r}: must name a function that takes {argument}"
        )
    return found


def _import(name: str, path: str) -> object:
    try:
        return import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"{name} = {path!r}: cannot be imported: {error}") from error


def _make(found: object, option: Option) -> object:
    """Return the object that a dotted path names, or call the class or function that it names."""
    if option.check(found) and not isinstance(found, type):
        return found
    try:
        return found() if callable(found) else found
    except Exception as error:
        if is_interruption(error):
            raise
        raise ImproperlyConfigured(
            f"{get_setting_name(option)}: making it raised {type(error).__name__}: {error}"
        ) from error
