"""The key, wrapped from the first line on, so that nothing that prints variables prints it.

Crash reporters show the variables of every frame on the way of an exception. No frame that raises
here or above holds the key itself: checks answer with a sentence and leave the raising to callers.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_VARIABLE = "WHISPERR_API_KEY"


class Secret:
    """A key, or what was given as one. Only `reveal` shows it."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value.strip() if isinstance(value, str) else value

    def reveal(self) -> str:
        """Return the key itself: only for the header of a request."""
        return str(self._value)

    def or_environment(self) -> Secret:
        """Return this one, or the one of the environment when none was given."""
        return Secret(os.environ.get(_VARIABLE)) if self._value is None else self

    @property
    def problem(self) -> str | None:
        """What is wrong with it as a key, without showing it; None when nothing is."""
        if self._value is None:
            return f"none given and {_VARIABLE} is not set; {_WHERE}"
        if not isinstance(self._value, str):
            return f"must be a string, got {type(self._value).__name__}"
        if not self._value:
            return f"is empty; {_WHERE}"
        if not self._value.isascii() or not self._value.isprintable() or " " in self._value:
            return "must not contain white space, control or non-ASCII characters"
        return None

    @property
    def is_publishable(self) -> bool:
        """Whether it is a key for apps and browsers (CONTRACT: `wpk_`)."""
        return self.reveal().startswith("wpk_")

    def __repr__(self) -> str:
        return "Secret('***')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled: it would lie wherever the pickle lies")


_WHERE = "create a server key (wrk_...) in the Whisperr dashboard, or pass disabled=True"
