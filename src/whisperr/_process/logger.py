"""The logger `whisperr`; `logging` is imported when there is something to log.

Every record begins with `whisperr:`, because the formats of many programs, and that of `logging`
itself where nothing is configured, leave out the name of the logger.

Handlers and filters are foreign code: what they raise never reaches the code that logs.
"""

from __future__ import annotations

import sys

from .imports import first_use
from .interruption import belongs_to_caller

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging

# Says of a handler that it is ours, so that the `debug` option adds only one.
_HANDLER_NAME = "whisperr debug"
_PREFIX = "whisperr: "


def logger() -> logging.Logger:
    """Return the logger `whisperr`."""
    with first_use():
        import logging

    return logging.getLogger("whisperr")


def log(level: str, message: str, *values: object) -> None:
    """Log one record, `level` being the name of a method of a logger, such as "warning".

    The message gets the prefix `whisperr: ` here. It is one line that says what happened, where,
    what becomes of the events, and what to do.

    Raises interruptions only. All else is given up: a handler or a filter failed, or the
    interpreter ends and `logging` cannot be imported any more; there is no better place to say so.
    """
    try:
        getattr(logger(), level)(_PREFIX + message, *values)
    except BaseException as error:
        if belongs_to_caller(error):
            raise


def log_to_stderr() -> None:
    """Show every record on stderr, once per process: the `debug` option."""
    log = logger()
    import logging

    log.setLevel(logging.DEBUG)
    if all(handler.name != _HANDLER_NAME for handler in log.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.name = _HANDLER_NAME
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
