"""A WSGI application with a client made at its import; each request tracks one event."""

from __future__ import annotations

import os
import sys
from threading import Event, Thread
from typing import TYPE_CHECKING

from whisperr import Whisperr

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

whisperr = Whisperr(flush_at=1_000_000, flush_interval=float(os.environ["FLUSH_INTERVAL"]))
whisperr.track("host", "app_loaded", {"n": os.getpid()})
if os.environ.get("FLUSH_AT_IMPORT") == "1":
    whisperr.flush(30)


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    message_id = whisperr.track("user", "request_made", {"n": int(environ["QUERY_STRING"])})
    if os.environ.get("HOLD") == "1":
        print("request 0 is held", file=sys.stderr, flush=True)
        Event().wait(3)  # long enough to be stopped meanwhile
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {message_id}".encode()]


if __name__ == "__main__":
    import signal
    from wsgiref.simple_server import make_server

    if os.environ.get("HANDLE_SIGTERM") == "1":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with make_server("127.0.0.1", 0, application) as server:
        print(f"serving on 127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
        # In a thread, so that signals meet the main one at rest: wsgiref swallows what they raise
        # in a request that is not quite over.
        Thread(target=server.serve_forever, daemon=True).start()
        Event().wait()
