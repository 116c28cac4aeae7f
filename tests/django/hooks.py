"""Objects that settings name by dotted paths."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from whisperr import Answer
from whisperr._queue.memory import MemoryQueue

if TYPE_CHECKING:
    from whisperr import Request, WhisperrError

CONTEXT = ssl.create_default_context()
NUMBER = 7


def record_error(error: WhisperrError) -> None:
    """Take a report."""


def review(event: dict[str, Any]) -> dict[str, Any] | None:
    return event


def get_region() -> dict[str, Any]:
    return {"region": "eu"}


class Buffer(MemoryQueue):
    """A buffer of the project's own."""


def make_buffer() -> Buffer:
    return Buffer(100, 10_000)


def make_nothing() -> Buffer:
    raise OSError("disk full")


class Transport:
    """Takes everything and sends nothing."""

    def send(self, request: Request, timeout: float) -> Answer:
        return Answer(400)

    def close(self) -> None:
        """Have nothing to close."""
