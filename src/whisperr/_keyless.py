"""Finds out whether a test run is importing the code that it tests: a client needs no key then.

An application creates its client when it is imported, before any fixture or block of a test is
active. This module reads the frames of the calling thread, and is imported when a key is missing.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


def is_loaded_by_unittest() -> bool:
    """Return whether the loader of unittest is importing a module, as in `python -m unittest`."""
    return any(frame.f_globals.get("__name__") == "unittest.loader" for frame in _get_frames())


def is_importing() -> bool:
    """Return whether the top level of a module is running, other than that of the program itself.

    Code that `exec` runs, as in the workers of pytest-xdist, has no `__spec__` and does not count.
    """
    return any(
        frame.f_code.co_name == "<module>"
        and frame.f_globals.get("__spec__") is not None
        and frame.f_globals.get("__name__") != "__main__"
        for frame in _get_frames()
    )


def _get_frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # `inspect` would be imported for it
    while frame is not None:
        yield frame
        frame = frame.f_back
