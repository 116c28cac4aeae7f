"""The logger `whisperr`; `logging` is imported when there is something to log."""

from __future__ import annotations

import sys

from .imports import first_use

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging


def logger() -> logging.Logger:
    """Return the logger `whisperr`; `logging` is imported when there is something to say."""
    with first_use():
        import logging

    return logging.getLogger("whisperr")


def log_to_stderr() -> None:
    """Show everything on stderr, once per process: the `debug` option."""
    log = logger()
    import logging

    log.setLevel(logging.DEBUG)
    if not any(getattr(handler, "of_whisperr", False) for handler in log.handlers):
        shown = logging.StreamHandler(sys.stderr)
        shown.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        shown.of_whisperr = True  # type: ignore[attr-defined]  # our mark, to add it only once
        log.addHandler(shown)
