"""The logger `whisperr`; `logging` is imported when there is something to log."""

from __future__ import annotations

import sys

from .imports import first_use

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging

# Says of a handler that it is ours, so that the `debug` option adds only one.
_HANDLER_NAME = "whisperr debug"


def logger() -> logging.Logger:
    """Return the logger `whisperr`."""
    with first_use():
        import logging

    return logging.getLogger("whisperr")


def log_to_stderr() -> None:
    """Show every record on stderr, once per process: the `debug` option."""
    log = logger()
    import logging

    log.setLevel(logging.DEBUG)
    if all(handler.name != _HANDLER_NAME for handler in log.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.name = _HANDLER_NAME
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        log.addHandler(handler)
