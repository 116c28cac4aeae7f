"""The AWS Lambda integration: deliver before the environment is frozen.

    from whisperr.aws_lambda import flush_after

    @flush_after
    def handler(event, context):
        whisperr.track(event["user"], "report_failed")

Between two invocations nothing runs, not even threads, and the environment may end without notice,
so each invocation delivers what it tracked, within the time that it has left. This module needs no
package: the context is what Lambda passes. The guide is docs/frameworks/functions.md.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, overload

from ._integrations.flushing import flush_after_calls, flush_all
from ._process.exit import EXIT_TIMEOUT, pipelines
from ._process.interruption import is_interruption
from ._process.timeout import parse_timeout

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
    *, timeout: float | None = EXIT_TIMEOUT, margin: float = _MARGIN
) -> Callable[[Function], Function]: ...


def flush_after(
    handler: Any = None, /, *, timeout: float | None = EXIT_TIMEOUT, margin: float = _MARGIN
) -> Any:
    """Deliver what is held after each invocation of a handler, sync or async, also a failed one.

    - `timeout`: how many seconds delivery may take.
    - `margin`: how many seconds before the end of the invocation's own time it stops at the
      latest. The Lambda context, which knows that time, is found among the arguments of the call:
      the handler may be a method, and the context may be passed by name.

    All clients of the process deliver. What is left stays queued for the next invocation. Raises
    TypeError or ValueError for a wrong time, and for what is no function.
    """
    most, reserve = parse_timeout(timeout), parse_timeout(margin, "margin")

    def get_timeout(args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
        # The context is the last argument that Lambda passes.
        given = (get_remaining_time(one) for one in (*kwargs.values(), *reversed(args)))
        left = next((seconds for seconds in given if seconds is not None), most + reserve)
        return max(min(most, left - reserve), 0.0)

    return flush_after_calls(handler, get_timeout)


def get_remaining_time(context: object) -> float | None:
    """Return the seconds that a Lambda context says are left; None for any other object."""
    try:
        seconds = context.get_remaining_time_in_millis() / 1000  # type: ignore[attr-defined]  # asked for
        return float(seconds) if isinstance(seconds, (int, float)) else None
    except Exception as error:  # of any object that a handler may be given
        if is_interruption(error):
            raise
        return None


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
