"""The lock between imports and forks; tests/os_processes/test_forks.py has the real fork."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from whisperr._process import imports as _imports

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 60  # seconds; only a hang takes as long


def is_free() -> bool:
    """Ask from another thread whether one could import; the lock is reentrant."""
    answers: list[bool] = []

    def ask() -> None:
        lock = _imports._lock
        answers.append(lock.acquire(blocking=False))
        if answers[0]:
            lock.release()

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(LIMIT)
    return answers[0]


@pytest.fixture
def import_elsewhere() -> Iterator[None]:
    """Let another thread be in the middle of an import."""
    begun, over = threading.Event(), threading.Event()

    def do() -> None:
        with _imports.first_use():
            begun.set()
            over.wait(LIMIT)

    thread = threading.Thread(target=do)
    thread.start()
    assert begun.wait(LIMIT)
    yield
    over.set()
    thread.join(LIMIT)


def test_a_fork_holds_imports_off_until_it_is_done() -> None:
    _imports.before_fork()
    assert not is_free()
    _imports.after_fork_in_parent()
    assert is_free()


def test_a_fork_inside_an_import_of_its_own_thread_does_not_wait() -> None:
    with _imports.first_use():
        _imports.before_fork()
        _imports.after_fork_in_parent()
        assert not is_free()
    assert is_free()


@pytest.mark.usefixtures("import_elsewhere")
def test_after_a_wait_in_vain_the_lock_stays_with_the_import() -> None:
    _imports.after_fork_in_parent()
    assert not is_free()
