"""Which signals our threads take: none that the application might want."""

from __future__ import annotations

import signal
import threading

import pytest

from whisperr._process.signals import block_in_this_thread, get_thread_id

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "pthread_sigmask"), reason="threads have no signals on this system"
)


def get_blocked(starter: int | None) -> set[int]:
    """Return what a thread blocks after it was asked to, as if `starter` had started it."""
    blocked: list[set[int]] = []

    def run() -> None:
        block_in_this_thread(get_thread_id() if starter == -1 else starter)
        blocked.append({int(one) for one in signal.pthread_sigmask(signal.SIG_BLOCK, ())})

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return blocked[0]


def test_a_thread_blocks_what_would_end_the_process_for_the_application() -> None:
    blocked = get_blocked(get_thread_id())
    assert {signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGUSR1, signal.SIGALRM} < blocked


def test_a_thread_does_not_block_the_crashes_that_faulthandler_reports() -> None:
    assert not get_blocked(get_thread_id()) & {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT}


@pytest.mark.parametrize("starter", [-1, None])
def test_a_greenlet_and_a_thread_without_a_number_change_nothing(starter: int | None) -> None:
    before = {int(one) for one in signal.pthread_sigmask(signal.SIG_BLOCK, ())}
    assert get_blocked(starter) == before
