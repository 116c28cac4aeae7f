"""Sets the slots of OVERRIDES for blocks of tests, which may end in any order.

If several blocks are active, the newest one decides.

Locks: one for each process, taken when a block begins or ends.
"""

from __future__ import annotations

from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING

from whisperr._options import OVERRIDES
from whisperr._process.identity import get_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whisperr._delivery.pipeline import Pipeline
    from whisperr._options import Config

    GetPipeline = Callable[[Config], Pipeline]

_locks: dict[object, RLock] = {}
# By block, the newest one last.
_strict_blocks: dict[object, bool] = {}
_pipeline_blocks: dict[object, GetPipeline] = {}


def get_lock() -> RLock:
    """Return the lock of this process: after a fork, that of the parent may be locked forever."""
    return _locks.setdefault(get_process(), RLock())


@contextmanager
def override_strict(strict: bool | None) -> Iterator[None]:  # noqa: FBT001  # None is the third
    """Override strictness until the block ends; None changes nothing."""
    if strict is None:
        yield
        return
    block = object()
    with get_lock():
        _strict_blocks[block] = OVERRIDES.strict = strict
    try:
        yield
    finally:
        with get_lock():
            del _strict_blocks[block]
            OVERRIDES.strict = next(reversed(_strict_blocks.values()), None)


@contextmanager
def override_pipelines(get_pipeline: GetPipeline) -> Iterator[None]:
    """Send the calls of every client to the returned pipeline until the block ends.

    Clients that integrations create meanwhile are closed with the last such block, because they
    have an address of the test, or no key.
    """
    block = object()
    with get_lock():
        if OVERRIDES.clients is None:
            OVERRIDES.clients = {}
        _pipeline_blocks[block] = OVERRIDES.pipeline = get_pipeline
    try:
        yield
    finally:
        with get_lock():
            del _pipeline_blocks[block]
            OVERRIDES.pipeline = next(reversed(_pipeline_blocks.values()), None)
            if not _pipeline_blocks:
                OVERRIDES.clients = None
