"""Delivers in the last moment before a host ends or freezes a process, for all its clients."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial, wraps
from inspect import isasyncgen, isawaitable, iscoroutinefunction, isgenerator
from typing import TYPE_CHECKING, Any, TypeVar

from whisperr._process.event_loop import run_in_thread
from whisperr._process.exit import pipelines
from whisperr._process.logger import log
from whisperr._process.real_clock import monotonic

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence

    from whisperr._process.event_loop import Waiting
    from whisperr._process.exit import Running

    Function = TypeVar("Function", bound=Callable[..., Any])
    # Takes the arguments of a call; returns the seconds that the flush after it may take.
    GetTimeout = Callable[[tuple[Any, ...], dict[str, Any]], float]


# Seconds to wait for unfinished requests at the end of a server whose flush has no time limit.
_LONGEST_WAIT = 10.0


def flush_all(timeout: float, waiting: Waiting | None = None) -> bool:
    """Deliver the held events within `timeout` seconds; return whether all were delivered.

    The others stay queued. `waiting` is given up when nothing awaits this call any more.
    """
    return _flush(pipelines(), monotonic() + timeout, waiting)


def flush_before_end(mine: Sequence[Running], timeout: float, waiting: Waiting) -> None:
    """Deliver held events, and deferred events once they are queued, within `timeout` seconds.

    For a server that ends while its last requests still work: events that wait for their user
    have half of the remaining time to get one.
    """
    began = monotonic()
    _flush(mine, began + timeout, waiting)
    left = max(began + timeout - monotonic(), 0.0)
    most = monotonic() + min(left / 2, _LONGEST_WAIT)
    if any(pipeline.wait_for_deferred(0.0) for pipeline in mine):
        remaining = sum(pipeline.wait_for_deferred(most, waiting) for pipeline in mine)
        _flush(mine, began + timeout, waiting)
        if remaining:
            log(
                "warning",
                "%d events still wait for their user while the server ends, and are lost with the "
                "process; see what keeps their requests from ending",
                remaining,
                count=remaining,
            )


def _flush(mine: Sequence[Running], deadline: float, waiting: Waiting | None) -> bool:
    for pipeline in mine[1:]:  # all start before this thread waits for one of them
        pipeline.flush(0)
    done = [pipeline.flush(max(deadline - monotonic(), 0.0), waiting) for pipeline in mine]
    return all(done)


async def aflush_all(timeout: float) -> bool:
    """Do what `flush_all` does without blocking the event loop, to the end even if cancelled."""
    return await run_in_thread(partial(flush_all, timeout), shield=True)


def flush_after_calls(function: Any, get_timeout: GetTimeout) -> Any:  # noqa: ANN401  # a function, or a decorator
    """Wrap a function to flush after each call; without a function, return a decorator.

    It flushes when the work is done, also if that failed: after a coroutine or another awaitable
    has finished, and when a generator, sync or async, ends or is closed.

    Raises TypeError for an object that is not a function, such as a class.
    """
    if function is None:
        return partial(flush_after_calls, get_timeout=get_timeout)
    _check_function(function)
    if is_coroutine_function(function):  # so that frameworks see the same kind of function

        @wraps(function)
        async def acall(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # those of the function
            return await _end_awaitable(
                function(*args, **kwargs), partial(get_timeout, args, kwargs)
            )

        return acall

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # likewise
        end = partial(get_timeout, args, kwargs)
        try:
            result = function(*args, **kwargs)
        except BaseException:
            flush_all(end())
            raise
        for is_unfinished, wrap in _UNFINISHED:
            if is_unfinished(result):
                return wrap(result, end)
        flush_all(end())
        return result

    return call


def is_coroutine_function(function: object) -> bool:
    """Return whether a call must be awaited, also of an object with an async `__call__`."""
    return iscoroutinefunction(function) or iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  # the method itself
    )


def _check_function(function: object) -> None:
    if isinstance(function, (classmethod, staticmethod)):
        kind = type(function).__name__
        raise TypeError(f"flush_after belongs below @{kind}: it wraps the function itself")
    if isinstance(function, type) or not callable(function):
        what = "the class" if isinstance(function, type) else "an object of type"
        name = function.__name__ if isinstance(function, type) else type(function).__name__
        raise TypeError(
            f"flush_after wraps a function or an object that can be called, got {what} {name}"
        )


async def _end_awaitable(awaitable: Awaitable[Any], get_timeout: Callable[[], float]) -> Any:  # noqa: ANN401  # any result
    try:
        result = await awaitable
    except GeneratorExit:  # the event loop is gone: nothing can be awaited
        raise
    except BaseException:
        await aflush_all(get_timeout())
        raise
    await aflush_all(get_timeout())
    return result


def _end_generator(
    generator: Generator[Any, Any, Any], get_timeout: Callable[[], float]
) -> Generator[Any, Any, Any]:
    try:
        return (yield from generator)
    finally:
        flush_all(get_timeout())


async def _end_async_generator(
    generator: AsyncGenerator[Any, Any], get_timeout: Callable[[], float]
) -> AsyncGenerator[Any, Any]:
    try:
        async with aclosing(generator):
            async for value in generator:
                yield value
    finally:
        await aflush_all(get_timeout())


# Results whose work is still to be done: how to recognise each, and how to flush at its end.
_UNFINISHED: tuple[tuple[Callable[[object], bool], Callable[..., Any]], ...] = (
    (isawaitable, _end_awaitable),
    (isgenerator, _end_generator),
    (isasyncgen, _end_async_generator),
)
