"""The AWS Lambda integration: delivers before Lambda freezes the execution environment.

Example::

    from whisperr.aws_lambda import flush_after

    @flush_after
    def handler(event, context):
        whisperr.track(event["user"], "report_failed")

Between two invocations no thread runs, and the environment may end without notice. So each
invocation delivers its events within the time that it has left. This module needs no other package.

If the package `snapshot_restore_py` is installed, as in Lambda's Python runtimes, importing this
module also registers hooks for SnapStart: events are delivered before the snapshot, and each copy
of it uses its own message ids.

.. versionadded:: 1.0
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
# AWS Lambda, SnapStart: hooks before the snapshot share the time of the initialization, at least
# 130 seconds.
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
    """Deliver queued events after each invocation of a handler, also if it raises.

    Use it as a decorator, with or without arguments. The handler may be a function or a method,
    sync or async, or a generator, which delivers when it ends. All clients of the process deliver.
    Events that are left stay queued for the next invocation in the same environment.

    Example::

        @flush_after(timeout=3.0)
        def handler(event, context):
            whisperr.track(event["user"], "report_failed")

    Args:
        handler: The handler to wrap. Left out, a decorator is returned.
        timeout: Seconds that delivery may take. None: all the time that the invocation has left.
        margin: Seconds before the end of the invocation's time at which delivery stops. The time
            is read from the Lambda context, which may be any argument, also one passed by name.

    Returns:
        The wrapped handler, or a decorator.

    Raises:
        TypeError: A time is not a number, or `handler` is not a function.
        ValueError: A time is negative or NaN.
    """
    most, reserve = parse_timeout(timeout), parse_timeout(margin, "margin")

    def get_timeout(args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
        # Lambda passes the context as the last argument.
        given = (get_remaining_time(one) for one in (*kwargs.values(), *reversed(args)))
        left = next((seconds for seconds in given if seconds is not None), most + reserve)
        return max(min(most, left - reserve), 0.0)

    return flush_after_calls(handler, get_timeout)


def get_remaining_time(context: object) -> float | None:
    """Return the seconds left according to a Lambda context; None for any other object."""
    try:
        seconds = context.get_remaining_time_in_millis() / 1000  # type: ignore[attr-defined]  # asked for
        return float(seconds) if isinstance(seconds, (int, float)) else None
    except Exception as error:  # of any object that a handler may be given
        if is_interruption(error):
            raise
        return None


def _before_snapshot() -> None:
    """Deliver now what each copy would deliver again, and keep connections out of the snapshot."""
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
