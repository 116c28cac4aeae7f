"""The Google Cloud Functions integration: deliver before the answer, while there is CPU time.

    from whisperr.google_functions import flush_after

    @functions_framework.http
    @flush_after
    def report(request):
        whisperr.track(request.args["user"], "report_failed")
        return "done"

After the answer the instance may get no CPU time, and it may end without notice. This module needs
no package. The guide is docs/frameworks/functions.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from ._integrations.flushing import flush_after_calls
from ._process.timeout import parse_timeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._integrations.flushing import Function

__all__ = ["flush_after"]

# A client waits for the answer, and the time limit of the function cannot be read.
_TIMEOUT = 5.0


@overload
def flush_after(function: Function, /) -> Function: ...


@overload
def flush_after(*, timeout: float | None = _TIMEOUT) -> Callable[[Function], Function]: ...


def flush_after(function: Any = None, /, *, timeout: float | None = _TIMEOUT) -> Any:
    """Deliver what is held after each call of a function, sync or async, also a failed one.

    - `timeout`: how many seconds delivery may take.

    All clients of the process deliver. What is left stays queued for the next call. Raises
    TypeError or ValueError for a wrong timeout, and for what is no function.
    """
    seconds = parse_timeout(timeout)
    return flush_after_calls(function, lambda _args, _kwargs: seconds)
