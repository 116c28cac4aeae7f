"""What to do with events that could not be delivered: keep them where nothing is lost."""

import json
import logging

from whisperr import WhisperrError

log = logging.getLogger("billing")


def write_down(error: WhisperrError) -> None:
    """Log lost events, as WHISPERR_ON_ERROR. The delivery thread waits for it: be quick."""
    log.error("whisperr: %s (%d events)", error.message, error.count)
    for event in error.events:
        log.error("not delivered: %s", json.dumps(event))
