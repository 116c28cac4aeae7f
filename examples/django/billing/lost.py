"""Logs events that could not be delivered, so that they can be sent again."""

import json
import logging

from whisperr import WhisperrError

log = logging.getLogger("billing")


def write_down(error: WhisperrError) -> None:
    """Log lost events; this is WHISPERR_ON_ERROR. Be quick, because the delivery thread waits."""
    log.error("whisperr: %s (%d events)", error.message, error.count)
    for event in error.events:
        log.error("not delivered: %s", json.dumps(event))
