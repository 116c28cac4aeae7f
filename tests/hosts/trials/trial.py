"""Runs a trial: a real host receives SIGTERM while one event waits in it.

The application of a trial is a file in `apps`. It is tried with the lines that
docs/delivery/processes.md recommends for its host, as the page shows them, and without.
"""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import sys
import tempfile
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import rmtree
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.hosts.host import BOUND, ROOT, Host
from tests.hosts.trials.apps.waiting import WAITS
from tests.hosts.trials.workflow_servers import (
    WorkflowServer,
    get_prefect_settings,
    start_prefect,
    start_temporal,
    why_no_prefect,
    why_no_temporal,
)
from tests.postgres_server import PostgresServer
from tests.postgres_server import why_not as why_no_postgres
from tests.redis_server import RedisServer
from tests.redis_server import why_not as why_no_redis
from whisperr.dev import LocalServer
from whisperr.dev.faults import latency

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

PAGE = ROOT / "docs" / "delivery" / "processes.md"
APPS = Path(__file__).parent / "apps"
MARK = "# The page's lines stand here.\n"
PORTS = (20_000, 30_000)
WHY_NOT = {
    "redis": why_no_redis,
    "postgres": why_no_postgres,
    "temporal": why_no_temporal,
    "prefect": why_no_prefect,
}
_ATTEMPTS = 600  # a tenth of a second apart: far longer than any machine takes to listen


class Trial(NamedTuple):
    """One row of the table in docs/delivery/processes.md."""

    host: str
    # The packages that must be there. The first one is the host: the page names its version.
    packages: tuple[str, ...]
    app: str
    # What `python` runs, with the names of `get_environment` in braces.
    command: str
    # Whether the event is delivered without the lines of the page. With them, it always is.
    delivers: bool
    # The section whose first block of Python is added to the application.
    section: str = ""
    # What the output contains once the host handles signals.
    ready: str = ""
    # Whether the application runs as a program first, to send a job.
    sends: bool = False
    # A job brings the event, and not a request.
    works: bool = False
    services: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    # What is added to the command when the lines are there.
    options: str = ""
    # Seconds until the server answers, as over a network: a host that does not wait loses it.
    latency: float = 0.2
    # In some runs with SIGTERM to all of its processes, it lost the event or did not end.
    loses_to_all: bool = False
    # The tests of its guide, as arguments of pytest: `python -m scripts.hosts` runs them too.
    guide: tuple[str, ...] = ()
    # The tests that show the same, so that `make test` need not run this trial.
    tested_by: str = ""

    @property
    def version(self) -> str:
        """The host that is installed, with its version."""
        if not self.packages:
            return f"Python {sys.version_info.major}.{sys.version_info.minor}"
        return f"{self.packages[0]} {version(self.packages[0])}"

    def why_not(self) -> str | None:
        """Return why it cannot be tried here; None when it can."""
        if os.name != "posix":
            return "the signals of POSIX"
        for package in self.packages:
            if not is_installed(package):
                return f"{package} is not installed here: `python -m scripts.hosts` tries it"
        return next((reason for name in self.services if (reason := WHY_NOT[name]())), None)


def is_installed(package: str) -> bool:
    """Return whether a distribution is installed."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


class Services:
    """The servers of the trials, each started for the first one that needs it."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._redis: RedisServer | None = None
        self._postgres: PostgresServer | None = None
        self._addresses: dict[str, dict[str, str]] = {}

    def get_environment(self, names: tuple[str, ...]) -> dict[str, str]:
        """Return where they are; they are empty."""
        found = {}
        if "redis" in names:
            self._redis = self._redis or self._start_redis()
            connection = self._redis.connect()
            connection.flushall()
            connection.close()
            found["REDIS_URL"] = f"redis://127.0.0.1:{self._redis.port}/0"
        if "postgres" in names:
            self._postgres = self._postgres or self._start_postgres()
            database = self._postgres.database()
            found["POSTGRES"] = f"host={database.host} dbname={database.name} user=postgres"
        for name in ("temporal", "prefect"):
            if name in names:
                found |= self._addresses.get(name) or self._start_workflows(name)
        return found

    def _start_workflows(self, name: str) -> dict[str, str]:
        home, port = self._make_home(), get_free_port()
        server: WorkflowServer
        if name == "temporal":
            server = start_temporal(port, home)
            found = {"TEMPORAL_ADDRESS": f"127.0.0.1:{port}"}
        else:
            server = start_prefect(port, home)
            found = {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
            found |= get_prefect_settings(home)
        self._stack.callback(server.stop)
        self._addresses[name] = found
        return found

    def _start_redis(self) -> RedisServer:
        server = RedisServer(self._make_home())
        self._stack.callback(server.stop)
        return server

    def _start_postgres(self) -> PostgresServer:
        server = PostgresServer(self._make_home())
        self._stack.callback(server.stop)
        return server

    def _make_home(self) -> Path:
        home = Path(tempfile.mkdtemp(prefix="whisperr-trials-"))
        self._stack.callback(rmtree, home, ignore_errors=True)
        return home

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


def get_block(section: str) -> str:
    """Return the first block of Python in a section of the page, or of the guide that it names."""
    for page in (PAGE, ROOT / "docs" / "frameworks" / "queues.md"):
        _, _, rest = page.read_text(encoding="utf-8").partition(f"\n## {section}\n")
        text = rest.partition("\n## ")[0]
        block = re.search(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        if block:
            # The block uses the application's client class, which waits and reports for the trial.
            return block[1].replace("from whisperr import Whisperr\n", "")
    raise AssertionError(f"no page has a section {section!r} with a block of Python")


def write_app(trial: Trial, home: Path, *, added: bool) -> None:
    """Write the application of a trial as the module `shop`."""
    text = (APPS / f"{trial.app}.py").read_text(encoding="utf-8")
    if trial.section:
        assert text.count(MARK) == 1, trial.app
        text = text.replace(MARK, get_block(trial.section) if added else "")
    (home / "shop.py").write_text(text, encoding="utf-8")


def run(trial: Trial, home: Path, services: Services, *, added: bool, to_all: bool = False) -> bool:
    """Run a trial in an empty directory; return whether its event arrived. It never arrives twice.

    - `added`: the application has what the page recommends.
    - `to_all`: SIGTERM is sent to all processes of the host, not only to the first.
    """
    write_app(trial, home, added=added)
    environment: dict[str, Any] = {
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(home), str(ROOT), os.environ.get("PYTHONPATH")])
        ),
        "FOLDER": str(home),
        "PORT": str(get_free_port()),
        **dict(trial.environment),
        **services.get_environment(trial.services),
    }
    options = f" {trial.options}" if added and trial.options else ""
    command = [sys.executable, *f"{trial.command}{options}".format(**environment).split()]
    with LocalServer(faults=[latency(trial.latency)]) as server:
        if trial.sends:
            with Host([sys.executable, str(home / "shop.py")], server, **environment) as sender:
                assert sender.wait() == 0, sender.text
        with Host(command, server, **environment) as host:
            if trial.ready:
                host.wait_for_output(trial.ready)
            if not trial.works:
                visit(int(environment["PORT"]), host)
            host.wait_for_output(WAITS)
            assert server.arrivals() == [], "nothing waits"
            (host.send_to_all if to_all else host.send)(signal.SIGTERM)
            host.wait()
        assert len(server.arrivals()) <= 1, "it arrived twice"
        return len(server.arrivals()) == 1


def get_free_port() -> int:
    """Return a port of the loopback interface that nothing listens on.

    It is below the range for port 0, so that no other program gets it meanwhile.
    """
    for _ in range(_ATTEMPTS):
        port = random.randrange(*PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"no port is free in {PORTS}")


def visit(port: int, host: Host) -> None:
    """Make one request, as soon as the host listens."""
    for _ in range(_ATTEMPTS):
        with (
            suppress(ConnectionError),
            closing(HTTPConnection("127.0.0.1", port, BOUND)) as visitor,
        ):
            visitor.request("GET", "/")
            assert visitor.getresponse().read() == b"thank you", host.text
            return
        Event().wait(0.1)
    raise AssertionError(f"no process listens:\n{host.text}")
