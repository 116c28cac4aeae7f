"""A local ingestion server for development and tests; `whisperr dev` on the command line.

    from whisperr.dev import LocalServer, faults

    with LocalServer(faults=[faults.status(503, times=2)]) as server:
        ...

Standard library only. It listens on loopback only.
"""

from __future__ import annotations

from . import faults
from ._ingest.model import Arrival, Problem, ReceivedRequest
from ._web.server import LocalServer
from .faults import Fault

__all__ = ["Arrival", "Fault", "LocalServer", "Problem", "ReceivedRequest", "faults"]
