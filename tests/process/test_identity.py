"""The number of a process is its own for as long as the process lives, after every fork."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from whisperr._process import identity
from whisperr._process.identity import get_process, get_reader

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork: not on this platform")


def test_it_stays_the_same() -> None:
    assert get_process() == get_process() == get_reader()()


# Forks three generations, each of them a child of the one before, with or without Python's hooks,
# and prints the numbers that they have. All have the same process id, as in new pid namespaces.
PROGRAM = """
import ctypes, os, sys
from whisperr._process import identity
os.getpid = lambda: 1
if sys.argv[1] == "no page":
    identity._make_page = lambda: None
fork = os.fork if sys.argv[2] == "python" else ctypes.PyDLL(None).fork
print(identity.get_process(), flush=True)
for _ in range(3):
    pid = fork()
    if pid:
        os.waitpid(pid, 0)
        os._exit(0)
    if sys.argv[3] == "reads first":
        identity.get_reader()()
    print(identity.get_process(), flush=True)
os._exit(0)
"""


@needs_fork
@pytest.mark.parametrize(("page", "by"), [("page", "python"), ("page", "c"), ("no page", "python")])
@pytest.mark.parametrize("first", ["reads first", "asks first"])
def test_children_have_another_one_even_with_the_same_process_id(
    page: str, by: str, first: str
) -> None:
    get_process()
    if by == "c" and identity._page is None:
        pytest.skip("this kernel wipes no pages, so a fork of C code is known by its process id")
    command = [sys.executable, "-c", PROGRAM, page, by, first]
    done = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)
    numbers = done.stdout.splitlines()
    assert len(numbers) == 4
    assert len(set(numbers)) == 4


def test_several_threads_that_number_a_wiped_page_write_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mmap = pytest.importorskip("mmap")
    get_process()
    page = identity._make_page()
    if page is None:
        pytest.skip("this kernel wipes no pages")
    monkeypatch.setattr(identity, "_page", page)
    monkeypatch.setattr(identity, "_count", 7)

    wiped: Any = page
    looks = 0

    class Raced(mmap.mmap):  # type: ignore[misc, name-defined]
        def __getitem__(self, key: Any) -> Any:
            nonlocal looks
            looks += 1
            if looks == 1:  # both threads see a wiped page
                identity._number(wiped)
                return bytes(8)
            return wiped[key]

        def __setitem__(self, key: Any, value: Any) -> None:
            wiped[key] = value

    identity._number(Raced(-1, 8))
    assert int.from_bytes(page[:8], "little") == identity._count == 8


@pytest.mark.parametrize("error", [OSError(22, "Invalid argument"), AttributeError("madvise")])
def test_a_kernel_that_wipes_no_pages_is_noticed(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    mmap = pytest.importorskip("mmap")

    class Refusing(mmap.mmap):  # type: ignore[misc, name-defined]
        def madvise(self, *_: int) -> None:
            raise error

    monkeypatch.setattr(mmap, "mmap", Refusing)
    assert identity._make_page() is None


def test_a_kernel_that_accepts_whatever_is_asked_is_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mmap = pytest.importorskip("mmap")

    class Agreeing(mmap.mmap):  # type: ignore[misc, name-defined]
        def madvise(self, *_: int) -> None:
            return

    monkeypatch.setattr(mmap, "mmap", Agreeing)
    assert identity._make_page() is None
