"""A SQLite file on a full volume: it can be emptied, and no event is sent again and again."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.delivery.rig import event, get_number
from tests.queue.processes import SQLiteProcesses
from tests.queue.queues import get_accounting
from tests.queue.store_contract import claim_all, put
from whisperr._queue.sqlite.store import SQLiteStore
from whisperr.errors import NotNow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[SQLiteProcesses]:
    made = SQLiteProcesses(tmp_path / "events.db")
    yield made
    made.close_all()


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A volume of 6 MiB, where this process may mount one."""
    path = tmp_path / "volume"
    path.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m,mode=700", "none", str(path)]
    with suppress(OSError):
        if subprocess.run(mount, capture_output=True, check=False, timeout=30).returncode == 0:
            try:
                yield path
            finally:
                subprocess.run(["umount", "-l", str(path)], check=True, timeout=30)
            return
    pytest.skip("mount: not permitted")


class Space(NamedTuple):
    """The result of `os.statvfs` for a volume."""

    f_blocks: int
    f_bavail: int
    f_frsize: int = 1


def set_space(monkeypatch: pytest.MonkeyPatch, total: int, free: int) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: Space(total, free), raising=False)


def get_pragma(processes: SQLiteProcesses, name: str) -> object:
    store = processes.made[0]._store
    assert isinstance(store, SQLiteStore)
    query = f"PRAGMA {name}"
    return store._session.read(lambda db, _: db.execute(query).fetchone()[0])


class TestReserve:
    def test_the_last_part_of_a_volume_is_left_for_taking_events_out(
        self, processes: SQLiteProcesses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queue = processes.start()
        put(queue, 1, 2)
        set_space(monkeypatch, 10_000 * MIB, 11 * MIB)
        put(queue, 3)
        assert "almost no space is left on its volume" in (get_accounting(queue).problem or "")
        assert (queue.stored, len(queue)) == (2, 3)
        assert [get_number(data) for data in queue.claim(10)] == [1, 2]
        assert queue.ack(2) == 2
        set_space(monkeypatch, 10_000 * MIB, 100 * MIB)
        processes.pass_retry()
        assert claim_all(queue) == [3]
        assert get_accounting(queue).problem is None

    @pytest.mark.parametrize(
        ("total", "pages"), [(10_000 * MIB, 1_000), (6 * MIB, 64), (MIB, 16), (0, 1_000)]
    )
    def test_on_a_small_volume_the_log_of_sqlite_stays_small(
        self,
        processes: SQLiteProcesses,
        monkeypatch: pytest.MonkeyPatch,
        total: int,
        pages: int,
    ) -> None:
        set_space(monkeypatch, total, total)
        put(processes.start(), 1)
        assert get_pragma(processes, "wal_autocheckpoint") == pages
        assert get_pragma(processes, "journal_size_limit") == pages * 4096

    def test_without_information_about_free_space_events_are_stored(
        self, processes: SQLiteProcesses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_: str) -> Space:
            raise OSError("not supported")

        monkeypatch.setattr(os, "statvfs", fail, raising=False)
        put(processes.start(), 1)
        assert processes.made[0].stored == 1


def fill(path: Path) -> None:
    """Fill a volume as another program would."""
    with suppress(OSError), path.open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with suppress(OSError):
                while file.write(b"x" * size) == size:
                    pass


def test_a_volume_that_the_file_has_filled_by_itself_is_emptied_completely(volume: Path) -> None:
    processes = SQLiteProcesses(volume / "events.db")
    queue = processes.start(max_events=100_000, max_bytes=100 * MIB)
    large = event(0)[:-1] + b',"text":"%b"}' % (b"x" * 2_000)
    while get_accounting(queue).problem is None:
        queue.put(large)
    stored, count = queue.stored, len(queue)
    assert stored > 1_000
    sent = 0
    while len(queue):
        processes.steady += 1
        batch = queue.claim(500)
        sent += len(batch)
        assert queue.ack(len(batch)) == len(batch)
    assert sent == count
    queue.poll()
    assert processes.path.stat().st_size < 100_000
    put(queue, 1)
    assert get_accounting(queue).problem is None
    processes.close_all()


def test_a_file_with_room_inside_is_filled_again(volume: Path) -> None:
    processes = SQLiteProcesses(volume / "events.db")
    queue = processes.start(max_events=100_000, max_bytes=100 * MIB)
    large = event(0)[:-1] + b',"text":"%b"}' % (b"x" * 2_000)
    while get_accounting(queue).problem is None:
        queue.put(large)
    for _ in range(3):
        queue.ack(len(queue.claim(500)))
    processes.pass_retry()
    put(queue, *range(200))
    assert get_accounting(queue).problem is None
    assert queue.stored > 200
    processes.close_all()


def test_on_a_volume_that_others_have_filled_each_event_is_sent_once(volume: Path) -> None:
    processes = SQLiteProcesses(volume / "events.db")
    queue = processes.start(max_events=100_000, max_bytes=100 * MIB)
    put(queue, *range(1_000))
    fill(volume / "other")
    sent: list[int] = []
    for _ in range(60):
        processes.pass_time(1)
        with suppress(NotNow):
            batch = queue.claim(100)
            sent += [get_number(data) for data in batch]
            queue.ack(len(batch))
        queue.poll()
    assert len(sent) == len(set(sent))
    (volume / "other").unlink()
    while len(queue) or not queue.settled(queue.tail()):
        processes.pass_time(1)
        with suppress(NotNow):
            batch = queue.claim(500)
            sent += [get_number(data) for data in batch]
            queue.ack(len(batch))
        queue.poll()
    assert sorted(sent) == list(range(1_000))
    assert get_accounting(queue).lost_own == 0
    processes.close_all()
