"""An application that real servers run; with HANDLE_SIGTERM=1 its program ends normally."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from whisperr.wsgi import WhisperrMiddleware

if TYPE_CHECKING:
    from collections.abc import Iterable


def cancel(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    message_id = environ["whisperr.tracker"].track("subscription_cancelled")
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield str(message_id).encode()


application = WhisperrMiddleware(cancel, resolve_user=lambda environ: environ.get("HTTP_X_USER"))
if os.environ.get("HANDLE_SIGTERM") == "1":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
