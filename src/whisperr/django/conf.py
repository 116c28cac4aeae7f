"""The settings of the door: WHISPERR_<OPTION> for every option of the client, and the resolver.

Derived from the options of the core; there is no second list. Reads the settings when asked and
keeps nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from whisperr import Whisperr
from whisperr._options import OPTIONS, OUTBOX, Config
from whisperr._queue.memory import MemoryQueue
from whisperr._secret import Secret

from .outbox.buffer import OUTBOX_DATABASE, OutboxBuffer

if TYPE_CHECKING:
    from collections.abc import Callable

    from whisperr._options import Option
    from whisperr.protocols import Accounting

PREFIX = "WHISPERR_"
API_KEY = "WHISPERR_API_KEY"
RESOLVE_USER = "WHISPERR_RESOLVE_USER"
DISABLED = "WHISPERR_DISABLED"


class InMemory:
    """The buffer of a client that delivers by itself, whatever the settings and environment say."""

    def open(self, max_events: int, max_bytes: int, _: Accounting) -> MemoryQueue:
        """Return a queue in memory."""
        return MemoryQueue(max_events, max_bytes)


def setting_of(option: Option) -> str:
    """Return the name of the setting of an option of the client."""
    return PREFIX + option.name.upper()


KNOWN = frozenset({OUTBOX_DATABASE, RESOLVE_USER, *map(setting_of, OPTIONS)})


def given() -> dict[str, Any]:
    """Return the options that the settings name, all but the key, which no variable holds.

    Raises ImproperlyConfigured that names the setting and says what is allowed.
    """
    options = {}
    for option in OPTIONS:
        if option.name != "api_key" and hasattr(settings, setting_of(option)):
            options[option.name] = value_of(option)
    if options.get("buffer") is None and os.environ.get("WHISPERR_BUFFER") == OUTBOX:
        options["buffer"] = OutboxBuffer()  # the core would refuse the name: it knows no Django
    return options


def value_of(option: Option) -> Any:  # noqa: ANN401  # options have all kinds of types
    """Return the value that the settings give an option; a dotted path becomes what it names."""
    name = setting_of(option)
    written = value = getattr(settings, name)
    if option.name == "buffer" and value == OUTBOX:
        return OutboxBuffer()
    if isinstance(value, str) and option.default is None and not option.check(value):
        value = _made_of(_imported(name, value), option)
    if not option.check(value):
        raise ImproperlyConfigured(f"{name} = {option.shown(written)}: must be {option.allowed}")
    return value


def key_problem() -> str | None:
    """Say what is wrong with the key of the settings or the environment, without showing it."""
    if getattr(settings, DISABLED, False) is True:
        return None
    return _key().problem


def is_publishable() -> bool:
    """Say whether the key is one for apps and browsers."""
    return _key().is_publishable


def new_client(**changed: object) -> Whisperr:
    """Make a client from the settings; `changed` options win.

    Raises ImproperlyConfigured for a missing key or a wrong setting, and says how to mend it.
    """
    options: dict[str, Any] = {**given(), **changed}
    problem = None if options.get("disabled") else _key().problem
    if problem is not None:
        raise ImproperlyConfigured(
            f"{API_KEY}: {problem.partition(';')[0]}. Set it in the settings to a server key "
            f"(wrk_...) from the Whisperr dashboard, or set {DISABLED} = True to send nothing"
        )
    try:
        return Whisperr(getattr(settings, API_KEY, None), **options)
    except ValueError as error:  # such as a wrong address in the environment
        raise ImproperlyConfigured(f"whisperr: {error}") from None


def config() -> Config:
    """Return the checked options of the settings; raises ImproperlyConfigured or ValueError."""
    defaults = {option.name: option.default for option in OPTIONS}
    return Config({**defaults, **given(), "api_key": _given_key()})


def resolver() -> Callable[[Any], Any] | None:
    """Return the function that WHISPERR_RESOLVE_USER names, None when it is not set.

    Raises ImproperlyConfigured when it cannot be imported or called.
    """
    value = getattr(settings, RESOLVE_USER, None)
    if value is None:
        return None
    found = _imported(RESOLVE_USER, value) if isinstance(value, str) else value
    if not callable(found):
        raise ImproperlyConfigured(
            f"{RESOLVE_USER} = {value!r}: must name a function that takes a request"
        )
    function: Callable[[Any], Any] = found
    return function


def is_async(function: Callable[[Any], Any]) -> bool:
    """Say whether a resolver is to be awaited; also an object with an async `__call__`."""
    return iscoroutinefunction(function) or iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  # the method itself is looked at
    )


def _given_key() -> Secret:
    return Secret(getattr(settings, API_KEY, None))


def _key() -> Secret:
    return _given_key().or_environment()


def _imported(name: str, path: str) -> object:
    try:
        found: object = import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"{name} = {path!r}: cannot be imported: {error}") from error
    return found


def _made_of(found: object, option: Option) -> object:
    """Return the object that a dotted path means: itself, or what a class or function makes."""
    if option.check(found) and not isinstance(found, type):
        return found
    try:
        return found() if callable(found) else found
    except Exception as error:
        raise ImproperlyConfigured(
            f"{setting_of(option)}: making it raised {type(error).__name__}: {error}"
        ) from error
