"""A store that is damaged, emptied, filled and restarted: every loss is reported, and counted.

A few seconds of each kind run with the tests, from WHISPERR_SOAK_SEED (1). The long way is
`python -m tests.faults.store_soak`.
"""

from __future__ import annotations

import os

import pytest

from tests.faults.store_soak import KINDS, soak
from tests.redis_server import why_not

SEED = int(os.environ.get("WHISPERR_SOAK_SEED", "1"))
SECONDS = 6.0


@pytest.mark.skipif(os.name == "nt", reason="a program of POSIX")
@pytest.mark.parametrize("kind", KINDS)
def test_every_event_that_a_store_loses_is_reported(kind: str) -> None:
    if kind == "redis" and (reason := why_not()):
        pytest.skip(reason)
    result = soak(kind, SEED, SECONDS)
    assert not result.problems, f"seed {SEED}: {result}"
    assert sum(result.faults.values()) > 1
    assert result.figures["accepted"] > 0
