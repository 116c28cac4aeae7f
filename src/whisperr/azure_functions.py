"""The Azure Functions integration: delivers before the answer, because the end runs no code.

Example::

    from whisperr.azure_functions import flush_after

    @app.route("report")
    @flush_after
    def report(req: func.HttpRequest) -> func.HttpResponse:
        whisperr.track(req.params["user"], "report_failed")
        return func.HttpResponse("done")

Azure ends the process of a function app when it scales in or deploys, and no exit function of
Python runs then. This module needs no other package.

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

    Use it as a decorator, with or without arguments, below the decorators of the `FunctionApp`.
    The function may be sync or async, with any trigger. All clients of the process deliver. Events
    that are left stay queued; the process delivers them later, while Azure keeps it.

    Args:
        function: The function to wrap. Left out, a decorator is returned.
        timeout: Seconds that delivery may take. None: until delivery succeeds or the retries are
            used up.

    Returns:
        The wrapped function, or a decorator.

    Raises:
        TypeError: `timeout` is not a number, or `function` is not a function, such as what the
            decorators of a `FunctionApp` return.
        ValueError: `timeout` is negative or NaN.
    """
    seconds = parse_timeout(timeout)

    def decorate(function: Any) -> Any:  # noqa: ANN401  # any function
        if type(function).__module__.startswith("azure.functions"):
            # The app has registered the function already, so a wrapper would never be called.
            raise TypeError("flush_after belongs below the decorators of the FunctionApp")
        return flush_after_calls(function, lambda _args, _kwargs: seconds)

    return decorate if function is None else decorate(function)
