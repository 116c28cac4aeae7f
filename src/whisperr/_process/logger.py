"""The logger `whisperr`; `logging` is imported with the first record.

Every record begins with `whisperr:`, because many programs use a format without the name of the
logger, and so does `logging` when nothing is configured.

What a program may want to select records by is also in attributes of the record, for structured
logging: `whisperr_type`, `whisperr_reason`, `whisperr_count`, `whisperr_status`, `whisperr_host`.
The prefix is there because services that store logs give `host` and `status` a meaning of their own
(https://docs.datadoghq.com/standard-attributes/), and because `logging` refuses a record whose
attribute a record factory of the program has already set. A record that it refuses all the same is
logged without these attributes.

Handlers and filters are foreign code. Their exceptions never reach the code that logs.
"""

from __future__ import annotations

import sys

from .imports import first_use
from .interruption import belongs_to_caller

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging

    from whisperr.errors import ErrorType

# Marks our handler, so that the `debug` option adds it only once.
_HANDLER_NAME = "whisperr debug"
_PREFIX = "whisperr: "
_FIELD_PREFIX = "whisperr_"


def logger() -> logging.Logger:
    """Return the logger `whisperr`."""
    with first_use():
        import logging

    return logging.getLogger("whisperr")


def log(
    level: str,
    message: str,
    *values: object,
    type: ErrorType | None = None,  # noqa: A002  # the documented name of the field
    reason: str | None = None,
    count: int | None = None,
    status: int | None = None,
    host: str | None = None,
) -> None:
    """Log one record; `level` is the name of a logger's method, such as "warning".

    This adds the prefix `whisperr: `. The message is one line that says what happened, where, what
    becomes of the events, and what to do. The keyword arguments become attributes of the record,
    except those that are None: the handler of OpenTelemetry 1.30 logs a warning for each of those.

    Raises only interruptions. Any other exception is ignored, because there is no better place to
    report it: a handler or filter failed, or the interpreter is ending and cannot import `logging`.
    """
    try:
        named = (
            ("type", type),
            ("reason", reason),
            ("count", count),
            ("status", status),
            ("host", host),
        )
        extra = {_FIELD_PREFIX + name: value for name, value in named if value is not None}
        write = getattr(logger(), level)
        try:
            write(_PREFIX + message, *values, extra=extra)
        except KeyError as error:
            # The record was refused before a handler had it. Another KeyError is of a handler, and
            # a second record would be seen twice by those before it.
            if not any(f"{name!r} in LogRecord" in str(error) for name in extra):
                raise
            write(_PREFIX + message, *values)
    except BaseException as error:
        if belongs_to_caller(error):
            raise


def log_to_stderr() -> None:
    """Show every record on stderr, for the `debug` option; the handler is added once a process."""
    log = logger()
    import logging

    log.setLevel(logging.DEBUG)
    if all(handler.name != _HANDLER_NAME for handler in log.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.name = _HANDLER_NAME
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
