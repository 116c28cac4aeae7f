"""Runs all checks in order: this machine, the configuration, the service, the buffer.

It sends one request, which the service refuses because it has no events, so nothing is stored. It
only reads from a buffer. Each step takes at most the time limit of a request.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

from whisperr._address import LOOPBACK, parse_url
from whisperr._options import get_base_url
from whisperr.errors import MissingKey

from .buffer import inspect_buffer
from .connection import STEPS, inspect_connection
from .environment import inspect_hosts, inspect_machine
from .findings import Finding, find
from .service import CHECKS, inspect_service

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from whisperr._options import Config
    from whisperr._secret import Secret

    Address = tuple[str, str, int, str]
    InspectBuffer = Callable[[Config], Iterator[Finding]]

_KEY_SPACES = "must not contain whitespace"  # of an error about the key
_BASE_URL = "WHISPERR_BASE_URL"
_DISABLED = "WHISPERR_DISABLED"
_QUOTES = ("'", '"')
_UNUSED_WHEN_DISABLED = ("kind of key", *STEPS, *CHECKS, "buffer")


def checkup(
    read: Callable[[], Config],
    inspect_buffer: InspectBuffer = inspect_buffer,
    given: str = "base_url",
    connected: Container[str] = (),
) -> Iterator[Finding]:
    """Yield every finding; a wrong configuration is one of them.

    This is a generator: each check runs when the caller asks for its finding, so that a command can
    print each at once.

    - `read`: returns the configuration. It may raise ValueError, ImportError for a missing driver,
      or an error of the framework that has the settings.
    - `given`: the name of the option that an address comes from, if it comes from neither the
      environment nor the default.
    - `connected`: as in `inspect_hosts`.
    """
    yield from inspect_machine()
    config = _configure(read)
    if isinstance(config, Finding):
        yield config
    elif config.disabled:
        by = f", by {_DISABLED}" if os.environ.get(_DISABLED) else ""
        yield find("disabled", f"disabled{by}: the client sends nothing")
        # A disabled client uses nothing else, so errors there must not fail the command.
        yield from (Finding(name, "skipped", "disabled") for name in _UNUSED_WHEN_DISABLED)
    else:
        yield from _inspect_configuration(config, given)
        reached = yield from inspect_connection(config)
        yield from inspect_service(config, reached=reached)
        yield from inspect_buffer(config)
    yield from inspect_hosts(connected=connected)


def _configure(read: Callable[[], Config]) -> Config | Finding:
    """Return the configuration, or why there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the findings say the same
        try:
            return read()
        except MissingKey as error:
            return find("no_key", str(error).partition(";")[0])  # the rest is the fix
        except ImportError as error:
            return find("no_driver", str(error).partition(";")[0])
        except ValueError as error:
            return find("key_spaces" if _KEY_SPACES in str(error) else "invalid", str(error))


def _inspect_configuration(config: Config, given: str) -> Iterator[Finding]:
    parts = parse_url(config.base_url)
    assert parts is not None  # `Config` has checked it
    source = _get_source(parts, given)
    text = f"{config.base_url}, {f'from {source}' if source else 'the default'}"
    mode = ", in test mode" if config.test_mode else ""
    if parts[1] in LOOPBACK:
        text = f"sends to {text}{mode}: this machine, not the service"
        yield find("this_machine", text, source=source)
    elif parts[0] == "http":
        yield find("unencrypted", f"{text}: http:// sends the key unencrypted")
    else:
        yield Finding("configuration", "ok", f"sends to {text}{mode}")
    yield _inspect_kind(config.key)


def _get_source(parts: Address, given: str) -> str | None:
    """Return the name of the option or variable that has the address; None for the default."""
    if parse_url(get_base_url(None)) != parts:
        return given
    return _BASE_URL if os.environ.get(_BASE_URL) else None


def _inspect_kind(key: Secret) -> Finding:
    """Return the finding about the kind of the key, without showing any part of it."""
    if key.is_publishable:
        return find("key_publishable", "wpk_, publishable, for apps; a backend needs wrk_")
    if key.reveal().startswith("wrk_") and not key.reveal().endswith(_QUOTES):
        return Finding("kind of key", "ok", "wrk_, a server key")
    if key.reveal().startswith(_QUOTES) or key.reveal().endswith(_QUOTES):
        return find("key_quoted", "it begins or ends with a quotation mark")
    return find("key_unknown", "neither wrk_ nor wpk_: is this a Whisperr key?")
