"""For the doors: the last moment of a host, for all clients of the process under one deadline."""

from __future__ import annotations

import time
from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeVar, cast

from whisperr._process.exit import pipelines

if TYPE_CHECKING:
    from collections.abc import Callable

    Function = TypeVar("Function", bound=Callable[..., Any])


def flush_all(timeout: float) -> bool:
    """Deliver what is held within `timeout` seconds; True when all of it was. The rest is kept."""
    deadline = time.monotonic() + timeout
    mine = pipelines()
    for pipeline in mine[1:]:  # all begin before any is waited for
        pipeline.flush(0)
    done = [pipeline.flush(max(deadline - time.monotonic(), 0.0)) for pipeline in mine]
    return all(done)


def flushing(function: Function, seconds_for: Callable[[tuple[Any, ...]], float]) -> Function:
    """Return the function, sync or async, with a flush behind each call, also a failed one.

    `seconds_for` is given the arguments of the call, after it, and says how long it may take.
    """
    if iscoroutinefunction(function):

        @wraps(function)
        async def acall(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # what is wrapped says
            import asyncio

            try:
                return await function(*args, **kwargs)
            finally:
                await asyncio.to_thread(flush_all, seconds_for(args))

        return cast("Function", acall)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # likewise
        try:
            return function(*args, **kwargs)
        finally:
            flush_all(seconds_for(args))

    return cast("Function", call)
