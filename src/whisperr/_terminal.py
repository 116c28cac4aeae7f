"""What a terminal shows: colours, and a line that is drawn again."""

from __future__ import annotations

import os

from ._platform import WINDOWS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

_ENABLE_VIRTUAL_TERMINAL_PROCESSING = 4


def wants_colour(stream: TextIO) -> bool:
    """Return whether to colour the text: on a terminal, unless NO_COLOR is set."""
    return not os.environ.get("NO_COLOR") and obeys_escapes(stream)


def obeys_escapes(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that obeys escape sequences.

    The old console of Windows prints them, until a program asks it to obey.
    """
    return stream.isatty() and (not WINDOWS or _ask_console(stream))


def _ask_console(stream: TextIO, load: Callable[[], tuple[Any, Any]] | None = None) -> bool:
    """Have the console of Windows obey escape sequences; return whether it does."""
    try:
        kernel, msvcrt = (load or _load)()
        handle, mode = msvcrt.get_osfhandle(stream.fileno()), _make_number()
        if not kernel.GetConsoleMode(handle, mode):
            return False
        wanted = mode[0] | _ENABLE_VIRTUAL_TERMINAL_PROCESSING
        return wanted == mode[0] or bool(kernel.SetConsoleMode(handle, wanted))
    except (ImportError, AttributeError, OSError, ValueError):  # no console, or an odd stream
        return False


def _load() -> tuple[Any, Any]:
    """Return what knows the console: a library of the system, and a module of Python."""
    import ctypes

    library: Any = ctypes
    return library.WinDLL("kernel32"), __import__("msvcrt")


def _make_number() -> Any:  # noqa: ANN401  # an array of one 32-bit number, which a call fills
    import ctypes

    return (ctypes.c_uint32 * 1)()
