"""Imports at first use: the lock that keeps forks out of them is free afterwards."""

from __future__ import annotations

from threading import Thread

from whisperr import _late


def is_free() -> bool:
    """Say whether another thread can take the lock at once."""
    taken: list[bool] = []

    def take() -> None:
        taken.append(_late._importing.acquire(blocking=False))
        if taken[0]:
            _late._importing.release()

    other = Thread(target=take)
    other.start()
    other.join()
    return taken[0]


def test_what_is_imported_is_what_it_says() -> None:
    assert _late.http_transport().__name__ == "HttpTransport"
    assert _late.logger().name == "whisperr"
    assert is_free()


def test_a_fork_holds_the_lock_and_both_sides_get_it_back() -> None:
    _late._before_fork()
    assert not is_free()
    _late._after_fork_in_parent()
    assert is_free()
    _late._before_fork()
    _late._after_fork_in_child()
    assert is_free()


def test_a_fork_whose_wait_ran_out_leaves_the_lock_to_its_holder() -> None:
    _late._after_fork_in_parent()
    assert is_free()
