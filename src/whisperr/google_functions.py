"""The Google Cloud Functions integration: delivers before the answer, while there is CPU time.

Example::

    from whisperr.google_functions import flush_after

    @functions_framework.http
    @flush_after
    def report(request):
        whisperr.track(request.args["user"], "report_failed")
        return "done"

After the answer the instance may get no CPU time, and it may end without notice. This module needs
no other package.

.. versionadded:: 1.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from ._integrations.flushing import flush_after_calls
from ._process.timeout import parse_timeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._integrations.flushing import Function

__all__ = ["flush_after"]

# The caller waits for the answer, and the function cannot read its own time limit.
_TIMEOUT = 5.0


@overload
def flush_after(function: Function, /) -> Function: ...


@overload
def flush_after(*, timeout: float | None = _TIMEOUT) -> Callable[[Function], Function]: ...


def flush_after(function: Any = None, /, *, timeout: float | None = _TIMEOUT) -> Any:
    """Deliver queued events after each call of a function, also if it raises.

    Use it as a decorator, with or without arguments, below the decorator of `functions_framework`.
    The function may be sync or async. All clients of the process deliver. Events that are left stay
    queued for the next call.

    Args:
        function: The function to wrap. Left out, a decorator is returned.
        timeout: Seconds that delivery may take. None: until delivery succeeds or the retries are
            used up.

    Returns:
        The wrapped function, or a decorator.

    Raises:
        TypeError: `timeout` is not a number, or `function` is not a function.
        ValueError: `timeout` is negative or NaN.
    """
    seconds = parse_timeout(timeout)
    return flush_after_calls(function, lambda _args, _kwargs: seconds)
