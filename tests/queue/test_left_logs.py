"""What the next process does with the files that it finds: adopt, skip, or leave alone."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

from tests.delivery.rig import event
from tests.facilities import needs_modes
from tests.queue.logs import OWNER, get_files, make_log, read_events, read_left
from whisperr._queue.log import file as log_file
from whisperr._queue.log import left as left_logs
from whisperr._queue.log.file import HEADER_BYTES
from whisperr._queue.log.left import LeftLogs
from whisperr._queue.log.lock import lock, try_lock
from whisperr.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from whisperr._queue.log.left import LeftLog


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "log"


def leave(directory: Path, *numbers: int, acknowledged: int = 0) -> tuple[Path, int]:
    """Write a log and leave it; return its file, and its source."""
    log = make_log(directory)
    before = set(get_files(directory)) if directory.exists() else set()
    for number in numbers:
        log.write(event(number))
    source = log.source
    log.claim(acknowledged)
    log.ack(acknowledged)
    log.close()
    (file,) = set(get_files(directory)) - before
    return file, source


def adopt(directory: Path) -> LeftLog:
    left = LeftLogs(str(directory), OWNER).adopt()
    assert left is not None
    return left


def get_events(numbers: Sequence[int]) -> list[bytes]:
    return [event(number) for number in numbers]


class TestAdoption:
    def test_there_may_be_no_directory(self, directory: Path) -> None:
        assert LeftLogs(str(directory), OWNER).adopt() is None

    def test_the_log_of_a_process_that_lives_is_not_adopted(self, directory: Path) -> None:
        log = make_log(directory)
        log.write(event(0))
        assert read_left(directory) == []
        log.close()
        assert read_events(directory) == [event(0)]

    def test_a_log_is_adopted_by_one_process_at_a_time(self, directory: Path) -> None:
        leave(directory, 0, 1)
        left = adopt(directory)
        assert LeftLogs(str(directory), OWNER).adopt() is None
        left.close()
        assert read_events(directory) == get_events([0, 1])

    def test_what_was_acknowledged_is_not_left_for_the_next_process(self, directory: Path) -> None:
        _, source = leave(directory, 0, 1, 2, 3, acknowledged=1)
        left = adopt(directory)
        assert left.source == source
        assert left.claim(2) == (1, get_events([1, 2]))
        assert left.claim(5) == (1, get_events([1, 2, 3]))
        left.ack(1)
        left.close()
        assert read_left(directory) == [(source, 2, event(2)), (source, 3, event(3))]
        assert get_files(directory) == []

    def test_logs_of_other_stores_in_the_same_directory_stay(self, directory: Path) -> None:
        file, _ = leave(directory, 0)
        assert LeftLogs(str(directory), "5").adopt() is None
        assert LeftLogs(str(directory), f"{OWNER}5a").adopt() is None
        assert file.exists()

    def test_a_later_file_waits_until_the_earlier_ones_have_left(self, directory: Path) -> None:
        log = make_log(directory)
        big = event(0)[:-1] + b',"text":"%s"}' % (b"x" * (5 << 20))
        log.write(big)
        log.write(big)
        log.close()
        first = adopt(directory)
        assert LeftLogs(str(directory), OWNER).adopt() is None
        first.ack(len(first.claim(5)[1]))
        first.close()
        second = adopt(directory)
        assert second.source == first.source
        assert second.claim(5) == (1, [big])
        second.close()

    def test_a_file_that_another_process_has_just_taken_and_deleted_is_not_read_again(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its progress may not be in the file: it could not be written, say."""
        leave(directory, 0, 1)
        others: list[bytes] = []

        def try_lock_late(file: int) -> bool:
            with monkeypatch.context() as patch:
                patch.setattr(left_logs, "try_lock", try_lock)
                patch.setattr(log_file.LogFile, "write_progress", lambda *_: None)
                others.extend(read_events(directory))
            return try_lock(file)

        monkeypatch.setattr(left_logs, "try_lock", try_lock_late)
        assert read_left(directory) == []
        assert others == get_events([0, 1])

    def test_a_file_in_which_nothing_waits_is_deleted(self, directory: Path) -> None:
        log = make_log(directory)
        log.write(event(0))
        log.claim(1)
        log.ack(1)
        log.close_in_child()  # nothing is deleted, as when the process is killed
        assert len(get_files(directory)) == 1
        assert read_left(directory) == []
        assert get_files(directory) == []

    def test_an_empty_file_is_deleted_and_its_process_makes_another(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An adopter may have the lock of a file that was made and has no header yet."""
        log = make_log(directory)
        found: list[object] = []

        def lock_late(file: int) -> None:
            if not found:
                found.append(read_left(directory))
            lock(file)

        monkeypatch.setattr(log_file, "lock", lock_late)
        log.write(event(0))
        assert found == [[]]
        log.close()
        assert read_events(directory) == [event(0)]

    @needs_modes
    def test_a_directory_that_others_can_write_is_refused(self, directory: Path) -> None:
        leave(directory, 0)
        directory.chmod(0o733)
        with pytest.raises(StoreError, match="chmod 700"):
            LeftLogs(str(directory), OWNER).adopt()


TORN = event(9)[:20]

DAMAGE: dict[str, tuple[bytes, list[int], int]] = {
    "a line that was being written": (event(0) + b"\n" + TORN, [0], 0),
    "zeros at the end, after a power failure": (event(0) + b"\n" + bytes(5_000), [0], 0),
    "zeros between": (event(0) + b"\n" + bytes(500) + b"\n" + event(1) + b"\n", [0, 1], 1),
    "zeros before a line": (bytes(50) + event(0) + b"\n" + event(1) + b"\n", [1], 1),
    "two lines that are one": (event(0) + TORN + b"\n" + event(1) + b"\n", [1], 1),
    "no object": (b'["external_user_id"]\n' + event(1) + b"\n", [1], 1),
    "no user": (b'{"event_type":"e"}\n' + event(1) + b"\n", [1], 1),
    "a user that is no text": (b'{"external_user_id":5}\n' + event(1) + b"\n", [1], 1),
    "empty lines": (b"\n\n" + event(1) + b"\n\n", [1], 3),
    "no text": (b"\xff\xfe\x00\n" + event(1) + b"\n", [1], 1),
    "very deep": (b"[" * 100_000 + b"\n" + event(1) + b"\n", [1], 1),
    "nothing but damage": (b"x\n" * 10, [], 10),
    "nothing": (b"", [], 0),
}


class TestDamage:
    @pytest.mark.parametrize("name", DAMAGE)
    def test_what_is_no_event_is_passed_over_and_counted(self, name: str, directory: Path) -> None:
        content, wanted, rejected = DAMAGE[name]
        file, _ = leave(directory, 7)
        file.write_bytes(file.read_bytes()[:HEADER_BYTES] + content)
        left = LeftLogs(str(directory), OWNER).adopt()
        events: list[bytes] = []
        counted = 0
        if left is not None:
            while lines := left.claim(3)[1]:
                events += lines
                left.ack(len(lines))
            left.claim(3)
            counted = left.take_rejected()
            assert left.take_rejected() == 0
            left.close()
            assert counted == rejected
        assert events == get_events(wanted)
        assert get_files(directory) == []

    def test_a_line_without_an_end_is_no_event_however_long(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(left_logs, "_CHUNK_BYTES", 64)
        monkeypatch.setattr(left_logs, "_LONGEST_LINE", 256)
        file, _ = leave(directory, 7)
        with file.open("ab") as end:
            end.write(b"x" * 3_000 + b"\n" + event(8) + b"\n" + b"y" * 3_000)
        assert read_events(directory) == get_events([7, 8])

    def test_an_event_longer_than_a_chunk_is_read(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(left_logs, "_CHUNK_BYTES", 16)
        leave(directory, *range(20))
        assert read_events(directory) == get_events(range(20))

    def test_events_around_damage_keep_their_indices(self, directory: Path) -> None:
        """A store knows an event by its source and its index."""
        file, source = leave(directory, 0, 1, 2)
        content = file.read_bytes().replace(event(1), b"x" * len(event(1)))
        file.write_bytes(content)
        assert read_left(directory) == [(source, 0, event(0)), (source, 2, event(2))]

    @pytest.mark.parametrize(
        "header",
        [bytes(HEADER_BYTES), b"whsplog\x01" + bytes(56), b"whsplog\x01" + b"\xff" * 56],
        ids=["zeros", "no fields", "wrong checksum"],
    )
    def test_a_damaged_header_loses_no_event_and_no_index_is_taken_for_another(
        self, header: bytes, directory: Path
    ) -> None:
        file, source = leave(directory, 0, 1, 2, acknowledged=1)
        file.write_bytes(header + file.read_bytes()[HEADER_BYTES:])
        found = read_left(directory)
        assert [data for _, _, data in found] == get_events([0, 1, 2])
        assert source not in {one for one, _, _ in found}

    def test_progress_that_is_no_start_of_a_line_counts_as_none(self, directory: Path) -> None:
        file, source = leave(directory, 0, 1, 2, acknowledged=1)
        content = file.read_bytes()
        file.write_bytes(content[:HEADER_BYTES] + b" " + content[HEADER_BYTES:])
        found = read_left(directory)
        assert [data.strip() for _, _, data in found] == get_events([0, 1, 2])
        assert source not in {one for one, _, _ in found}

    def test_progress_behind_the_end_means_that_all_had_left_when_the_file_was_emptied(
        self, directory: Path
    ) -> None:
        file, source = leave(directory, 0, 1, 2, 3, acknowledged=3)
        content = file.read_bytes()
        file.write_bytes(content[:HEADER_BYTES] + event(3) + b"\n")
        assert read_left(directory) == [(source, 3, event(3))]

    def test_a_file_that_is_cut_within_the_header_is_deleted(self, directory: Path) -> None:
        file, _ = leave(directory, 0)
        file.write_bytes(file.read_bytes()[:30])
        assert read_left(directory) == []
        assert get_files(directory) == []


class TestForeignFiles:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"2026-11-28 nginx: started\n" * 9, "not written by this package, or by another"),
            (b"whsplog\x02" + bytes(900), "by another version"),
            (b"x", "not written by this package"),
        ],
    )
    def test_a_file_with_such_a_name_is_left_alone_and_reported_once(
        self, content: bytes, reason: str, directory: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        file, _ = leave(directory, 0)
        file.write_bytes(content)
        with caplog.at_level(logging.WARNING):
            assert read_left(directory) == []
            assert read_left(directory) == []
        assert file.read_bytes() == content
        (record,) = caplog.messages
        assert reason in record
        assert str(file) in record

    @pytest.mark.parametrize(
        "name",
        [
            "access.log",
            f"{OWNER}-0-0.log",
            f"{OWNER}-{'0' * 16}-{'g' * 16}.log",
            f"{OWNER}-{'0' * 16}-{'0' * 16}.log.gz",
            f"-{'0' * 16}-{'0' * 16}.log",
        ],
    )
    def test_a_file_with_another_name_is_not_even_opened(
        self, name: str, directory: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        file, _ = leave(directory, 0)
        foreign = directory / name
        file.rename(foreign)
        assert read_left(directory) == []
        assert foreign.exists()
        assert caplog.messages == []

    @needs_modes
    @pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
    def test_what_is_no_file_is_left_alone(
        self, kind: str, directory: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        file, _ = leave(directory, 0)
        target = file.rename(directory / "target")
        if kind == "link":
            file.symlink_to(target)
        elif kind == "pipe":
            os.mkfifo(file)
        else:
            file.mkdir()
        assert read_left(directory) == []
        assert len(caplog.messages) == 1
        assert file.is_symlink() or file.exists()

    @needs_modes
    def test_a_file_of_another_user_is_left_alone(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        file, _ = leave(directory, 0)
        if os.geteuid() != 0:
            pytest.skip("only root can give a file away")
        os.chown(file, 12_345, -1)
        assert read_left(directory) == []
        assert "belongs to the user with id 12345" in caplog.text
        assert file.exists()

    def test_another_log_is_adopted_past_it(self, directory: Path) -> None:
        file, _ = leave(directory, 0)
        file.write_bytes(b"something else, with more bytes than a header would have" * 3)
        leave(directory, 1)
        assert read_events(directory) == [event(1)]
