"""Awaits a blocking call without using a thread of the application, in asyncio and in trio.

Each wait runs in its own daemon thread. The executor of an event loop belongs to the application:
it may be full or shut down, and `asyncio.run` waits for its threads. Nothing waits for a daemon
thread, neither the end of the loop nor the end of the process.

Threads: the event loop, and the thread of the wait, which runs only the call.
"""

from __future__ import annotations

import sys

from . import threads
from .imports import first_use
from .signals import block_in_this_thread, get_thread_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType
    from typing import TypeVar

    T = TypeVar("T")

THREAD_NAME = f"{threads.NAMES}await"


class Waiting:
    """A call that an event loop awaits. `given_up` tells its thread that nothing awaits it now."""

    __slots__ = ("_wake", "given_up")

    def __init__(self) -> None:
        self.given_up = False
        self._wake: Callable[[], object] | None = None

    def when_given_up(self, wake: Callable[[], object]) -> None:
        """Register a function that ends the call early; the event loop calls it on `give_up`."""
        self._wake = wake

    def give_up(self) -> None:
        """Let the thread end, because the task that awaited it was cancelled."""
        self.given_up = True
        if self._wake is not None:
            self._wake()


async def run_in_thread(call: Callable[[Waiting], T], *, shield: bool = False) -> T:
    """Return `call(waiting)`, run in a daemon thread with the context variables of this task.

    When the task is cancelled, `waiting.given_up` tells the thread, and nothing waits for it.
    `shield` keeps a cancelled scope of trio from ending this wait. asyncio cancels a task once.

    Where no thread can be started, the call runs here and blocks the event loop until it returns.
    """
    with first_use():
        from contextvars import copy_context

    waiting = Waiting()
    outcome: list[tuple[T | None, BaseException | None]] = []
    make_event = _trio_event if is_trio() else _asyncio_event
    wait, notify = make_event(shield)
    context = copy_context()

    starter = get_thread_id()

    def work() -> None:
        try:
            block_in_this_thread(starter)
            outcome.append((context.run(call, waiting), None))
        except BaseException as error:  # noqa: BLE001  # raised again where the call is awaited
            outcome.append((None, error))
        notify()

    if not _start(work):
        return call(waiting)
    try:
        await wait()
    except BaseException:
        waiting.give_up()
        raise
    result, error = outcome[0]
    if error is not None:
        try:
            raise error
        finally:
            del error, outcome  # no cycle of the traceback with this frame
    return result  # type: ignore[return-value]  # it was set where there was no error


def is_trio() -> bool:
    """Return whether the calling task belongs to trio, by sniffio, on which trio depends."""
    trio = sys.modules.get("trio")  # not imported: if it is not loaded, it runs no task
    if trio is None:
        return False
    sniffio = sys.modules.get("sniffio")
    try:
        if sniffio is not None:
            return bool(sniffio.current_async_library() == "trio")
        trio.lowlevel.current_task()
    except RuntimeError:  # no task of any library
        return False
    return True


def in_event_loop() -> bool:
    """Return whether the calling thread is running an event loop."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:  # noqa: SLF001  # documented as public for libraries
        return True
    return is_trio()


def _asyncio_event(shield: bool) -> tuple[Callable[[], Awaitable[object]], Callable[[], None]]:  # noqa: ARG001, FBT001  # of `make_event`
    import asyncio

    loop = asyncio.get_running_loop()
    event = asyncio.Event()

    def notify() -> None:
        try:  # noqa: SIM105  # `contextlib` is imported for nothing else
            loop.call_soon_threadsafe(event.set)
        except RuntimeError:  # the loop has ended: nothing waits
            pass

    return event.wait, notify


def _trio_event(shield: bool) -> tuple[Callable[[], Awaitable[object]], Callable[[], None]]:  # noqa: FBT001  # of `make_event`
    trio: ModuleType = sys.modules["trio"]
    token = trio.lowlevel.current_trio_token()
    event = trio.Event()

    async def wait() -> None:
        with trio.CancelScope(shield=shield):
            await event.wait()

    def notify() -> None:
        try:  # noqa: SIM105  # likewise
            token.run_sync_soon(event.set)
        except RuntimeError:  # `trio.RunFinishedError`: nothing waits
            pass

    return wait, notify


def _start(work: Callable[[], None]) -> bool:
    if not threads.may_start():
        return False
    with first_use():
        from threading import Thread
    try:
        Thread(target=work, name=THREAD_NAME, daemon=True).start()
    except RuntimeError:  # the limit of threads is reached, or the interpreter is shutting down
        return False
    return True
