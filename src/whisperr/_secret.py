"""Wraps the key, and URLs with a password, so that printing a variable does not show them.

Crash reporters print the variables of every frame that an exception passes through. Invariant: no
frame of the package that may raise has a variable with the unwrapped key or such a URL. So checks
return a sentence, and their callers raise the error.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_VARIABLE = "WHISPERR_API_KEY"


class Secret:
    """A key, or any value given as one, or a URL. Only `reveal` returns it."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value.strip() if isinstance(value, str) else value

    def reveal(self) -> str:
        """Return the key, only for the header of a request, or the URL, only to parse it."""
        return str(self._value)

    def or_environment(self) -> Secret:
        """Return this key, or the key from the environment if none was given."""
        return Secret(os.environ.get(_VARIABLE)) if self._value is None else self

    @property
    def problem(self) -> str | None:
        """Why this cannot be a key, in words that do not show it; None if it can be one."""
        if self._value is None:
            return f"none given and {_VARIABLE} is not set; {_WHERE}"
        if not isinstance(self._value, str):
            return f"must be a string, got {type(self._value).__name__}"
        if not self._value:
            return f"is empty; {_WHERE}"
        if not self._value.isascii() or not self._value.isprintable() or " " in self._value:
            return "must not contain whitespace, control or non-ASCII characters; copy it again"
        return None

    @property
    def is_given(self) -> bool:
        """Whether there is a value, be it empty or wrong."""
        return self._value is not None

    @property
    def is_missing(self) -> bool:
        """Whether there is no key: none was given, or it is empty, as variables often are."""
        return self._value is None or self._value == ""

    @property
    def is_publishable(self) -> bool:
        """Whether this is a key for apps and browsers, which begins with `wpk_`."""
        return self.reveal().startswith("wpk_")

    def __repr__(self) -> str:
        return "Secret('***')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key or password cannot be pickled: anyone could read it in the pickle")


def hide_password(value: object) -> object:
    """Return a URL that may contain a password as a Secret, and any other value as it is."""
    return Secret(value) if isinstance(value, str) and "@" in value else value


_WHERE = (
    "create a server key (wrk_...) in the Whisperr dashboard, then pass api_key= or set "
    f'{_VARIABLE}; to try it without a key run "whisperr dev -- COMMAND"; to send nothing pass '
    "disabled=True or set WHISPERR_DISABLED=1"
)
