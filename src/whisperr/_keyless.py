"""Tells where a client may be made without a key: while a test run imports what it tests.

An application makes its client while it is imported, when no fixture and no block of a test is
active yet. Looks at the frames of the calling thread only. Imported when a key is missing.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


def is_loaded_by_unittest() -> bool:
    """Return whether the loader of unittest imports a module, as `python -m unittest` does."""
    return any(frame.f_globals.get("__name__") == "unittest.loader" for frame in _get_frames())


def is_importing() -> bool:
    """Return whether the top level of a module runs; not that of the program itself.

    What `exec` runs, as in the workers of pytest-xdist, has no `__spec__`.
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
