"""Awaiting a blocking call: whose thread runs it, and what a cancellation leaves behind."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from whisperr._process.event_loop import THREAD_NAME, is_trio, run_in_thread

if TYPE_CHECKING:
    from whisperr._process.event_loop import Waiting

BOUND = 30.0
ENDLESS = """
import asyncio, threading
from whisperr._process.event_loop import run_in_thread

def wait(_):
    threading.Event().wait()
"""
CANCELLED = {
    "asyncio": """
async def main():
    try:
        await asyncio.wait_for(run_in_thread(wait), 0.05)
    except asyncio.TimeoutError:
        print("ended")

asyncio.run(main())
""",
    "trio": """
import trio

async def main():
    with trio.move_on_after(0.05):
        await run_in_thread(wait)
    print("ended")

trio.run(main)
""",
}
number: ContextVar[int] = ContextVar("number", default=0)


def run(library: str, main: Any) -> Any:
    if library == "asyncio":
        return asyncio.run(main())
    return pytest.importorskip("trio", reason="trio is not installed").run(main)


@pytest.mark.parametrize("library", ["asyncio", "trio"])
class TestBoth:
    def test_the_call_runs_in_a_daemon_thread_with_the_context_of_the_task(
        self, library: str
    ) -> None:
        async def main() -> tuple[str, bool, int]:
            number.set(7)
            return await run_in_thread(
                lambda _: (
                    threading.current_thread().name,
                    threading.current_thread().daemon,
                    number.get(),
                )
            )

        assert run(library, main) == (THREAD_NAME, True, 7)

    def test_what_the_call_raises_is_raised_where_it_is_awaited(self, library: str) -> None:
        def fail(_: Waiting) -> None:
            raise SystemExit(3)

        async def main() -> None:
            with pytest.raises(SystemExit):
                await run_in_thread(fail)

        run(library, main)

    def test_a_thread_that_goes_on_does_not_keep_the_loop_or_the_process(
        self, library: str
    ) -> None:
        if library == "trio":
            pytest.importorskip("trio", reason="trio is not installed")
        program = ENDLESS + CANCELLED[library]
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=BOUND,
            check=False,
        )
        assert (done.stdout, done.stderr) == ("ended\n", "")


def test_under_trio_a_shielded_wait_outlasts_a_cancelled_scope() -> None:
    trio: Any = pytest.importorskip("trio", reason="trio is not installed")
    done: list[bool] = []

    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await run_in_thread(lambda _: done.append(True), shield=True)

    trio.run(main)
    assert done == [True]


def test_without_threads_the_call_runs_in_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> str:
        return await run_in_thread(lambda _: threading.current_thread().name)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert asyncio.run(main()) == threading.current_thread().name


def test_a_task_of_asyncio_is_none_of_trio() -> None:
    async def main() -> bool:
        return is_trio()

    assert asyncio.run(main()) is False
    assert is_trio() is False  # no event loop at all


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="needs POSIX signals")
def test_the_thread_of_a_wait_takes_no_signal_of_the_application() -> None:
    async def main() -> set[signal.Signals | int]:
        return await run_in_thread(lambda _: set(signal.pthread_sigmask(signal.SIG_BLOCK, ())))

    assert signal.SIGTERM in asyncio.run(main())
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
