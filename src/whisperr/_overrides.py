"""Holds what tests set in place of what clients do. Only `whisperr.testing` sets it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Overrides:
    """Slots that are None in production.

    - `pipeline`: a function of a client's configuration; what it returns takes the calls of that
      client, in place of the client's own pipeline.
    - `strict`: whether bad input raises, whatever the option `strict` of a client says.
    """

    __slots__ = ("pipeline", "strict")

    def __init__(self) -> None:
        self.pipeline: Callable[[Any], Any] | None = None
        self.strict: bool | None = None


OVERRIDES = Overrides()
