"""The log of a process: what is written, claimed, acknowledged, given up, and left in its files."""

from __future__ import annotations

import os
import stat
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import event, get_number, identify
from tests.facilities import needs_links, needs_modes, needs_open_files_to_move
from tests.queue.logs import get_files, make_log, read_events, read_left
from whisperr._queue.log import log as log_module
from whisperr._queue.memory import get_size
from whisperr.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from whisperr._queue.log.log import Log

BOUND = 60.0
MIB = 1 << 20


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def log(directory: Path) -> Log:
    return make_log(directory)


def write(log: Log, *numbers: int) -> None:
    for number in numbers:
        log.write(event(number))


def get_claimed(log: Log, most: int = 100) -> tuple[int, list[int]]:
    index, lines = log.claim(most)
    return index, [get_number(data) for data in lines]


def make_event(number: int, size: int) -> bytes:
    """Return an event of about so many bytes."""
    return event(number)[:-1] + b',"text":"%s"}' % (b"x" * size)


class TestWriting:
    def test_making_a_log_touches_no_file(self, log: Log, directory: Path) -> None:
        assert not directory.exists()
        assert (len(log), log.written, log.first, log.held_bytes) == (0, 0, 0, 0)
        assert log.claim(10) == (0, [])
        assert log.overflow() == []
        log.close()
        assert not directory.exists()

    def test_a_line_is_in_the_file_when_the_call_returns(self, log: Log, directory: Path) -> None:
        log.write(event(1))
        (file,) = get_files(directory)
        assert file.read_bytes().endswith(event(1) + b"\n")
        log.write(event(2))
        assert file.read_bytes().endswith(event(1) + b"\n" + event(2) + b"\n")

    def test_only_its_owner_can_use_the_directory_and_the_file(
        self, log: Log, directory: Path
    ) -> None:
        before = os.umask(0)
        try:
            log.write(event(1))
        finally:
            os.umask(before)
        if os.name == "posix":
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
            assert stat.S_IMODE(get_files(directory)[0].stat().st_mode) == 0o600

    def test_what_waits_is_counted(self, log: Log) -> None:
        write(log, 1, 2, 3)
        events = [event(1), event(2), event(3)]
        assert (len(log), log.written, log.first) == (3, 3, 0)
        assert log.held_bytes == get_size(events)
        log.claim(2)
        assert (len(log), log.written, log.first) == (3, 3, 0)
        log.ack(2)
        assert (len(log), log.written, log.first) == (1, 3, 2)
        assert log.held_bytes == get_size(events[2:])

    def test_with_fsync_every_line_is_on_the_disk_before_the_call_returns(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced: list[bytes] = []

        def sync(file: int) -> None:
            assert os.fstat(file).st_size
            synced.append(get_files(directory)[0].read_bytes())

        monkeypatch.setattr(log_module, "sync", sync)
        log = make_log(directory, fsync=True)
        write(log, 1, 2)
        size = len(event(0)) + 1
        assert [data[-size:] for data in synced] == [event(1) + b"\n", event(2) + b"\n"]

    def test_without_fsync_nothing_waits_for_the_disk(
        self, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(log_module, "sync", lambda _: pytest.fail("synced"))
        write(log, 1)


class TestClaiming:
    def test_the_oldest_lines_of_any_kind_are_claimed_in_order(self, log: Log) -> None:
        events = [event(0), identify(1), identify(2), event(3)]
        for data in events:
            log.write(data)
        assert log.claim(3) == (0, events[:3])
        log.ack(3)
        assert log.claim(3) == (3, events[3:])

    def test_a_claimed_group_is_claimed_again_until_it_is_acknowledged(self, log: Log) -> None:
        write(log, 0, 1, 2)
        assert get_claimed(log, 2) == (0, [0, 1])
        assert get_claimed(log, 3) == (0, [0, 1])
        log.release()
        assert get_claimed(log, 3) == (0, [0, 1])
        log.ack(1)
        assert get_claimed(log, 3) == (1, [1])
        log.ack(1)
        assert get_claimed(log, 3) == (2, [2])

    def test_only_what_is_claimed_can_be_acknowledged(self, log: Log) -> None:
        write(log, 0, 1, 2)
        log.ack(1)
        log.claim(2)
        log.release()
        log.ack(1)
        assert (len(log), log.first) == (3, 0)
        log.claim(2)
        log.ack(5)
        assert (len(log), log.first) == (1, 2)

    def test_a_group_has_at_most_a_mebibyte_but_at_least_one_line(self, log: Log) -> None:
        for number, size in enumerate([3 * MIB, MIB // 2, MIB // 3, MIB // 3]):
            log.write(make_event(number, size))
        sizes = []
        while lines := log.claim(100)[1]:
            sizes.append(len(lines))
            log.ack(len(lines))
        assert sizes == [1, 2, 1]

    def test_what_is_returned_can_be_changed_by_the_caller(self, log: Log) -> None:
        write(log, 0, 1)
        log.claim(2)[1].clear()
        assert get_claimed(log) == (0, [0, 1])


class TestBounds:
    def test_the_oldest_lines_over_the_count_are_given_up(self, directory: Path) -> None:
        log = make_log(directory, max_events=3)
        write(log, 0, 1, 2)
        assert log.overflow() == []
        write(log, 3, 4)
        assert log.overflow() == [event(0), event(1)]
        assert (len(log), log.first, log.written) == (3, 2, 5)
        assert get_claimed(log) == (2, [2, 3, 4])

    def test_the_oldest_lines_over_the_bytes_are_given_up(self, directory: Path) -> None:
        log = make_log(directory, max_bytes=get_size([event(0)] * 2))
        write(log, 0, 1, 2)
        assert log.overflow() == [event(0)]
        log.write(make_event(3, 10_000))
        assert len(log.overflow()) == 3
        assert (len(log), log.held_bytes) == (0, 0)

    def test_a_claimed_group_stays_and_what_is_behind_it_is_given_up(self, directory: Path) -> None:
        log = make_log(directory, max_events=2)
        write(log, 0, 1)
        log.claim(2)
        write(log, 2, 3, 4, 5)
        assert log.overflow() == [event(2), event(3)]
        assert log.first == 0
        log.ack(1)
        assert (log.first, len(log)) == (1, 3)
        log.ack(1)
        assert (log.first, len(log)) == (4, 2)
        assert get_claimed(log) == (4, [4, 5])

    def test_a_released_group_is_the_oldest_again(self, directory: Path) -> None:
        log = make_log(directory, max_events=2)
        write(log, 0, 1)
        log.claim(2)
        write(log, 2, 3, 4)
        assert log.overflow() == [event(2)]
        log.release()
        write(log, 5)
        assert log.overflow() == [event(0), event(1), event(3)]
        assert get_claimed(log) == (4, [4, 5])

    @pytest.mark.parametrize("bound", [{"max_events": 1}, {"max_bytes": get_size([event(0)])}])
    def test_what_is_claimed_does_not_count(self, directory: Path, bound: dict[str, Any]) -> None:
        log = make_log(directory, **bound)
        write(log, 0, 1)
        log.claim(2)
        write(log, 2)
        assert log.overflow() == []
        write(log, 3)
        assert log.overflow() == [event(2)]

    def test_what_was_given_up_is_not_left_for_the_next_process(self, directory: Path) -> None:
        log = make_log(directory, max_events=2)
        write(log, 0, 1, 2, 3)
        log.overflow()
        log.close()
        assert read_events(directory) == [event(2), event(3)]


class TestFiles:
    def test_a_file_in_which_nothing_waits_is_deleted_at_the_end(
        self, log: Log, directory: Path
    ) -> None:
        write(log, 0, 1)
        log.claim(2)
        log.ack(2)
        log.close()
        assert get_files(directory) == []

    def test_what_waits_at_the_end_is_left_with_its_source_and_its_indices(
        self, log: Log, directory: Path
    ) -> None:
        write(log, 0, 1, 2)
        source = log.source
        log.claim(2)
        log.ack(1)
        log.close()
        assert (len(log), log.held_bytes) == (0, 0)
        assert read_left(directory) == [(source, 1, event(1)), (source, 2, event(2))]
        assert get_files(directory) == []

    def test_after_the_end_it_starts_again_with_another_source(
        self, log: Log, directory: Path
    ) -> None:
        write(log, 0)
        before = log.source
        log.close()
        write(log, 1)
        assert log.source != before
        assert get_claimed(log) == (1, [1])
        log.release()
        log.close()
        assert [data for _, _, data in sorted(read_left(directory), key=lambda one: one[1])] == [
            event(0),
            event(1),
        ]

    def test_without_anything_left_behind_the_source_stays(self, log: Log) -> None:
        before = log.source
        log.close()
        assert log.source == before

    def test_a_large_log_is_several_files_that_are_deleted_when_they_have_left(
        self, log: Log, directory: Path
    ) -> None:
        for number in range(40):
            log.write(make_event(number, MIB // 2))
        assert len(get_files(directory)) == 3
        for left in range(3, 0, -1):
            for _ in range(15):
                log.claim(1)
                log.ack(1)
            assert len(get_files(directory)) == left - 1
        log.close()
        assert get_files(directory) == []

    def test_the_rest_of_several_files_is_left_in_order(self, log: Log, directory: Path) -> None:
        events = [make_event(number, MIB // 2) for number in range(40)]
        for data in events:
            log.write(data)
        log.claim(1)
        log.ack(1)
        log.close()
        assert [(index, data) for _, index, data in read_left(directory)] == [
            *enumerate(events, 0)
        ][1:]

    def test_files_of_lines_given_up_are_deleted_while_the_store_fails(
        self, directory: Path
    ) -> None:
        log = make_log(directory, max_bytes=2 * MIB)
        for number in range(80):
            log.write(make_event(number, MIB // 2))
            log.overflow()
        assert len(get_files(directory)) <= 2

    @pytest.mark.parametrize("size", [100 << 10, 3 * MIB], ids=["emptied", "replaced"])
    def test_the_room_of_what_has_left_is_given_back(
        self, size: int, log: Log, directory: Path
    ) -> None:
        for number in range(20):
            log.write(make_event(number, size))
            log.claim(1)
            log.ack(1)
        assert sum(file.stat().st_size for file in get_files(directory)) < size
        write(log, 20, 21)
        source = log.source
        log.close()
        assert read_left(directory) == [(source, 20, event(20)), (source, 21, event(21))]

    @needs_open_files_to_move
    @pytest.mark.parametrize("where", ["file", "directory"])
    def test_when_an_operator_deletes_the_files_it_goes_on_in_others(
        self, where: str, log: Log, directory: Path
    ) -> None:
        write(log, 0, 1)
        (file,) = get_files(directory)
        file.unlink()
        if where == "directory":
            directory.rmdir()
        assert get_claimed(log, 1) == (0, [0])
        log.ack(1)
        write(log, 2)
        assert get_claimed(log, 1) == (1, [1])
        log.ack(1)
        log.close()
        assert read_events(directory) == [event(2)]


class TestPauses:
    """While the log fails, events wait elsewhere, with numbers of the same series."""

    def test_while_it_is_stopped_lines_are_refused_and_can_be_claimed(
        self, log: Log, directory: Path
    ) -> None:
        write(log, 0, 1)
        assert log.stop() == 2
        with pytest.raises(StoreError, match="not written to at the moment"):
            log.write(event(2))
        assert get_claimed(log) == (0, [0, 1])
        log.ack(2)
        log.skip_to(2)
        write(log, 2)
        assert get_claimed(log) == (2, [2])
        assert len(get_files(directory)) == 1

    def test_the_next_line_can_have_a_later_index(self, log: Log, directory: Path) -> None:
        write(log, 0)
        log.claim(1)
        log.ack(1)
        log.stop()
        log.skip_to(7)
        assert (log.first, log.written, len(log)) == (7, 7, 0)
        write(log, 7, 8)
        assert get_claimed(log, 1) == (7, [7])
        log.ack(1)
        source = log.source
        log.close()
        assert read_left(directory) == [(source, 8, event(8))]


class TestErrors:
    @needs_modes
    def test_a_directory_that_others_can_write_is_refused(self, log: Log, directory: Path) -> None:
        directory.mkdir()
        directory.chmod(0o777)
        with pytest.raises(StoreError, match=r"users can write to it \(mode 0777\); chmod 700"):
            log.write(event(0))
        directory.chmod(0o755)  # they may look at the names
        write(log, 0)

    @needs_links
    def test_a_link_is_refused(self, log: Log, directory: Path, tmp_path: Path) -> None:
        directory.symlink_to(tmp_path)
        with pytest.raises(StoreError, match="a link; name the directory itself"):
            log.write(event(0))

    def test_a_file_in_place_of_the_directory_is_refused(self, log: Log, directory: Path) -> None:
        directory.write_text("something else")
        with pytest.raises(StoreError, match="not a directory; name another"):
            log.write(event(0))

    def test_only_the_last_part_of_the_path_is_made(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="log: its directory does not"):
            make_log(tmp_path / "missing" / "log").write(event(0))

    @needs_modes
    def test_a_directory_of_another_user_is_refused(
        self, log: Log, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        directory.mkdir(mode=0o700)
        owner = directory.stat().st_uid
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
        with pytest.raises(StoreError, match=f"user with id {owner}, and this process runs as"):
            log.write(event(0))


class TestThreads:
    def test_what_many_threads_write_is_moved_once_and_in_the_order_of_each(
        self, directory: Path
    ) -> None:
        """One thread moves while the others write; the rest is adopted."""
        threads, each = 16, 300
        log, begin, moved = make_log(directory), Event(), list[bytes]()

        def track(thread: int) -> None:
            assert begin.wait(BOUND)
            for number in range(each):
                log.write(event(thread * 1_000 + number))
                assert log.overflow() == []

        writers = [Thread(target=track, args=(number,), daemon=True) for number in range(threads)]
        for one in writers:
            one.start()
        begin.set()
        while any(one.is_alive() for one in writers):
            index, lines = log.claim(50)
            assert index == len(moved)
            log.ack(len(lines))
            moved += lines
        for one in writers:
            one.join(BOUND)
        assert log.written == threads * each
        assert len(log) == threads * each - len(moved)
        log.close()
        moved += read_events(directory)
        numbers = [get_number(data) for data in moved]
        for thread in range(threads):
            own = [number for number in numbers if number // 1_000 == thread]
            assert own == [thread * 1_000 + number for number in range(each)]
        assert len(numbers) == threads * each
