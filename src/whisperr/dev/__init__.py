"""A local ingestion server for development and tests, as `whisperr dev` starts it.

Example::

    from whisperr.dev import LocalServer, faults

    with LocalServer(faults=[faults.status(503, times=2)]) as server:
        client = Whisperr("wrk_test", base_url=server.url)

It listens on loopback only, and needs the standard library only.

.. versionadded:: 1.0
"""

from __future__ import annotations

from . import faults
from ._ingest.model import Arrival, Problem, ReceivedRequest
from ._web.server import LocalServer
from .faults import Fault

__all__ = ["Arrival", "Fault", "LocalServer", "Problem", "ReceivedRequest", "faults"]
