"""Delivery at the last moment that a host gives: all clients of the process, one deadline."""

from __future__ import annotations

from functools import partial, wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeVar

from whisperr._process.exit import pipelines
from whisperr._process.real_clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

    Function = TypeVar("Function", bound=Callable[..., Any])


def flush_all(timeout: float) -> bool:
    """Deliver what is held within `timeout` seconds; return whether all of it was.

    What was not delivered stays queued.
    """
    deadline = monotonic() + timeout
    mine = pipelines()
    for pipeline in mine[1:]:  # all begin before this thread waits for any
        pipeline.flush(0)
    done = [pipeline.flush(max(deadline - monotonic(), 0.0)) for pipeline in mine]
    return all(done)


def flush_after_calls(function: Any, get_timeout: Callable[[tuple[Any, ...]], float]) -> Any:  # noqa: ANN401  # a function, or a decorator
    """Wrap a function, sync or async, to flush after each call; without one return a decorator.

    It flushes after a failed call, too. `get_timeout` takes the arguments of the call, after it,
    and returns the seconds of the flush.
    """
    if function is None:
        return partial(flush_after_calls, get_timeout=get_timeout)
    if iscoroutinefunction(function):

        @wraps(function)
        async def acall(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # those of the wrapped function
            import asyncio

            try:
                return await function(*args, **kwargs)
            finally:
                await asyncio.to_thread(flush_all, get_timeout(args))

        return acall

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # likewise
        try:
            return function(*args, **kwargs)
        finally:
            flush_all(get_timeout(args))

    return call
