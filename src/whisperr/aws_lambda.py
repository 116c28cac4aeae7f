"""The AWS Lambda integration: deliver before the environment is frozen.

    from whisperr.aws_lambda import flush_after

    @flush_after
    def handler(event, context):
        whisperr.track(event["user"], "report_failed")

Between two invocations nothing runs, not even threads, and the environment may end without notice,
so each invocation delivers what it tracked, within the time that it has left. This module needs no
package: the context is what Lambda passes. The guide is docs/aws_lambda.md.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, overload

from ._integrations.flushing import flush_after_calls, flush_all
from ._process.exit import EXIT_TIMEOUT, pipelines

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._integrations.flushing import Function

__all__ = ["flush_after"]

_MARGIN = 0.5
# AWS Lambda, SnapStart: hooks before the snapshot share the time of the initialization, which is
# 130 seconds at least.
_BEFORE_SNAPSHOT = EXIT_TIMEOUT


@overload
def flush_after(handler: Function, /) -> Function: ...


@overload
def flush_after(
    *, timeout: float = EXIT_TIMEOUT, margin: float = _MARGIN
) -> Callable[[Function], Function]: ...


def flush_after(
    handler: Any = None, /, *, timeout: float = EXIT_TIMEOUT, margin: float = _MARGIN
) -> Any:
    """Deliver what is held after each invocation of a handler, sync or async, also a failed one.

    - `timeout`: how many seconds delivery may take.
    - `margin`: how many seconds before the end of the invocation's own time it stops at the
      latest.

    All clients of the process deliver. What is left stays queued for the next invocation.
    """

    def get_timeout(args: tuple[Any, ...]) -> float:
        context = args[1] if len(args) > 1 else None
        remaining = getattr(context, "get_remaining_time_in_millis", None)
        left = timeout if remaining is None else remaining() / 1000 - margin
        return max(min(timeout, left), 0.0)

    return flush_after_calls(handler, get_timeout)


def _before_snapshot() -> None:
    """Deliver what every copy would deliver again, and leave no connection in the snapshot."""
    if flush_all(_BEFORE_SNAPSHOT):
        for pipeline in pipelines():
            pipeline.close_in_child()
    _renew_ids()


def _renew_ids() -> None:
    """Start new message ids, so that no two copies of the snapshot use the same ones."""
    for pipeline in pipelines():
        pipeline.renew_ids()


# Part of Lambda's own Python runtimes.
if find_spec("snapshot_restore_py") is not None:
    import snapshot_restore_py as _snapshot

    _snapshot.register_before_snapshot(_before_snapshot)
    _snapshot.register_after_restore(_renew_ids)
