"""Damages, empties, fills and restarts the store of a running client, and compares the reports.

    python -m tests.faults.store_soak --seconds 240 --seed 1 --kinds sqlite redis

A process of its own tracks all the time with a durable queue; this one damages its store at random
moments and serves the events. In the end every accepted event has arrived or was reported, and the
process used little of the processor. `seconds` is divided over the kinds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.redis_server import RedisServer
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

KINDS = ("sqlite", "redis")
MOST_OF_A_CORE = 0.5
_PER_SECOND = 100
_LIMIT = 120.0  # seconds for the end; reached only when something hangs
_VOLUME_BYTES = 6 << 20
_SHORTEST, _LONGEST = 0.5, 2.5  # seconds between two faults

# Tracks until the time is over; writes the ids of accepted events, then one line of figures.
PROGRAM = """
import json, resource, sys, time, threading, collections
from whisperr import Whisperr
url, buffer, ids = sys.argv[1:4]
seconds, per_second = map(float, sys.argv[4:])
reported, raised = collections.Counter(), collections.Counter()
def on_error(error):
    if error.type == "dropped":
        reported[error.reason] += error.count
client = Whisperr("wrk_test", base_url=url, buffer=buffer, flush_interval=0.2, on_error=on_error)
pause, end, number = threading.Event(), time.monotonic() + seconds, 0
started, used = time.monotonic(), time.process_time()
with open(ids, "w") as file:
    while time.monotonic() < end:
        number += 1
        try:
            properties = {"n": number, "text": "x" * 300}
            message_id = client.track(f"u{number % 7}", "some_event", properties)
            client.stats()
        except Exception as error:
            raised[repr(error)] += 1
        else:
            if message_id is not None:
                print(message_id, file=file)
        pause.wait(1 / per_second)
wall, cpu = time.monotonic() - started, time.process_time() - used
client.flush(30)
client.flush(30)
stats = client.stats()
done = client.shutdown(30)
figures = {"accepted": stats.accepted, "delivered": stats.delivered, "dropped": stats.dropped}
figures |= {"held": stats.held, "not_accepted": stats.not_accepted, "problem": stats.problem}
figures |= {"reported": reported, "raised": raised, "share": cpu / wall, "done": done}
print(json.dumps(figures))
"""


class Result(NamedTuple):
    """What came of one kind; `problems` is empty when all is as promised."""

    kind: str
    seed: int
    faults: dict[str, int]
    figures: dict[str, Any]
    missing: int
    problems: tuple[str, ...]


class SQLiteFaults:
    """What can happen to a file: `faults` are the functions that do it."""

    def __init__(self, directory: Path, rng: random.Random) -> None:
        self.path = directory / "events.db"
        self.url = f"sqlite:///{self.path}"
        self._random = rng
        self._ballast = directory / "ballast"
        self.faults: dict[str, Callable[[], None]] = {
            "damage_sums": self.damage_sums,
            "remove_state": self.remove_state,
            "add_foreign_row": self.add_foreign_row,
            "empty": self.empty,
            "delete_file": self.delete_file,
            "overwrite_bytes": self.overwrite_bytes,
            "fill_volume": self.fill_volume,
            "free_volume": self.free_volume,
        }

    def damage_sums(self) -> None:
        self._run("UPDATE state SET rows = -5, bytes = 'abc', until = 9e99, token = 'x'")

    def remove_state(self) -> None:
        self._run("DELETE FROM state")

    def add_foreign_row(self) -> None:
        self._run("INSERT INTO event (source, number, data) VALUES (1, 1, 'no event')")

    def empty(self) -> None:
        self._run("DELETE FROM event")

    def delete_file(self) -> None:
        for end in ("", "-wal", "-shm"):
            Path(f"{self.path}{end}").unlink(missing_ok=True)

    def overwrite_bytes(self) -> None:
        with suppress(FileNotFoundError), self.path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(self._random.randrange(200, max(size, 201)))
            file.write(self._random.randbytes(64))

    def fill_volume(self) -> None:
        """Leave no room: only where the directory is a small volume of its own."""
        if os.path.ismount(self._ballast.parent):
            with suppress(OSError), self._ballast.open("ab") as file:
                while True:
                    file.write(bytes(4096))
                    file.flush()

    def free_volume(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def heal(self) -> None:
        """Leave a store that works, so that the rest can be delivered."""
        self.free_volume()

    def _run(self, statement: str) -> None:
        if not self.path.exists():
            return
        db = sqlite3.connect(self.path, timeout=5, isolation_level=None)
        try:
            db.execute(statement)
        except sqlite3.Error:
            return  # it is damaged, full or busy at the moment
        finally:
            db.close()


class RedisFaults:
    """What can happen to a Redis server and its keys."""

    def __init__(self, directory: Path, rng: random.Random) -> None:
        self._server = RedisServer(directory)
        self._random = rng
        self.url = self._server.url("soak")
        self.faults: dict[str, Callable[[], None]] = {
            "damage_sums": self.damage_sums,
            "add_foreign_entry": self.add_foreign_entry,
            "empty": self.empty,
            "remove_state": self.remove_state,
            "take_lease": self.take_lease,
            "remove_everything": self.remove_everything,
            "fill_memory": self.fill_memory,
            "free_memory": self.free_memory,
            "restart": self.restart,
        }

    def damage_sums(self) -> None:
        self._run("HSET", "{soak}:state", "bytes", "abc", "taken_rows", "-7")

    def add_foreign_entry(self) -> None:
        self._run("XADD", "soak", "*", "foo", "bar")

    def empty(self) -> None:
        self._run("DEL", "soak")

    def remove_state(self) -> None:
        self._run("DEL", "{soak}:state")

    def take_lease(self) -> None:
        self._run("SET", "{soak}:lease", "x", "KEEPTTL")

    def remove_everything(self) -> None:
        self._run("FLUSHALL")

    def fill_memory(self) -> None:
        self._run("CONFIG", "SET", "maxmemory", "900kb")

    def free_memory(self) -> None:
        self._run("CONFIG", "SET", "maxmemory", "0")

    def restart(self) -> None:
        self._server.stop()
        Event().wait(self._random.uniform(0.1, 1.0))
        self._server.start()

    def heal(self) -> None:
        """Leave a store that works, so that the rest can be delivered."""
        self.free_memory()

    def stop(self) -> None:
        self._server.stop()

    def _run(self, *command: str) -> None:
        import redis

        with (
            suppress(redis.RedisError),
            redis.Redis(port=self._server.port, socket_timeout=5) as client,
        ):
            client.execute_command(*command)


@contextmanager
def small_volume() -> Iterator[Path]:
    """A directory on a small volume of its own, where this process may mount one."""
    with tempfile.TemporaryDirectory() as directory:
        command = [
            "mount",
            "-t",
            "tmpfs",
            "-o",
            f"size={_VOLUME_BYTES},mode=700",
            "tmpfs",
            directory,
        ]
        mounted = False
        with suppress(OSError):
            mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        try:
            yield Path(directory)
        finally:
            if mounted:
                subprocess.run(["umount", directory], check=True)


def soak(kind: str, seed: int, seconds: float) -> Result:
    """Let one process track for so many seconds while its store suffers."""
    rng = random.Random(seed)
    with (
        small_volume() as directory,
        tempfile.TemporaryDirectory() as other,
        LocalServer(keep=1_000_000) as server,
    ):
        # Redis on a volume with room: one that cannot write its own file refuses everything.
        is_file = kind == "sqlite"
        store = SQLiteFaults(directory, rng) if is_file else RedisFaults(Path(other), rng)
        ids = Path(other) / "ids"
        try:
            faults, output = _run_process(server, store, rng, ids, seconds)
        finally:
            if isinstance(store, RedisFaults):
                store.stop()
        arrived = {
            one.body["context"]["$message_id"]
            for one in server.arrivals()
            if one.status == "accepted"
        }
        figures = json.loads(output)
        missing = len(set(ids.read_text().split()) - arrived)
    return Result(
        kind, seed, dict(faults), figures, missing, tuple(_get_problems(figures, missing))
    )


def _run_process(
    server: LocalServer,
    store: SQLiteFaults | RedisFaults,
    rng: random.Random,
    ids: Path,
    seconds: float,
) -> tuple[Counter[str], str]:
    command = [sys.executable, "-c", PROGRAM, server.url, store.url]
    process = subprocess.Popen(
        [*command, str(ids), str(seconds), str(_PER_SECOND)], stdout=subprocess.PIPE, text=True
    )
    faults: Counter[str] = Counter()
    try:
        end = time.monotonic() + seconds
        pause = Event()
        while time.monotonic() < end and process.poll() is None:
            pause.wait(rng.uniform(_SHORTEST, _LONGEST))
            fault = rng.choice(list(store.faults))
            store.faults[fault]()
            faults[fault] += 1
        store.heal()
        output, _ = process.communicate(timeout=_LIMIT)
    finally:
        process.kill()
        process.wait()
    return faults, output


def _get_problems(figures: dict[str, Any], missing: int) -> list[str]:
    problems = []
    dropped = sum(figures["dropped"].values())
    reported = sum(figures["reported"].values())
    if figures["raised"]:
        problems.append(f"calls raised {figures['raised']}")
    if missing > dropped:
        problems.append(f"{missing} accepted events are missing, {dropped} counted as lost")
    if dropped > reported:
        problems.append(f"{dropped} counted as lost, {reported} reported")
    if figures["held"]:
        problems.append(f"{figures['held']} events are held after the end: {figures['problem']}")
    if figures["accepted"] != figures["delivered"] + dropped + figures["held"]:
        problems.append("the counts do not add up")
    if figures["share"] > MOST_OF_A_CORE:
        problems.append(f"the process used {figures['share']:.0%} of a core")
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak every kind and print the results; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    chosen = parser.parse_args(arguments)
    failed = False
    for kind in chosen.kinds:
        result = soak(kind, chosen.seed, chosen.seconds / len(chosen.kinds))
        failed = failed or bool(result.problems)
        sys.stdout.write(f"{json.dumps(result._asdict(), indent=2)}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
