"""The site behind real servers: what was tracked is there when the server has ended."""

from __future__ import annotations

import http.cookiejar
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.facilities import needs_signals
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.contrib.auth.models import User

ROOT = Path(__file__).resolve().parents[2]
BOUND = 120  # reached only by a process that hangs
# Only the end makes a client deliver.
QUIET = {"SITE_FLUSH_AT": "1000000", "SITE_FLUSH_INTERVAL": "3600"}
GUNICORN = ["gunicorn", "--workers=2", "--bind=127.0.0.1:0", "tests.django.served:wsgi"]
UVICORN = ["uvicorn", "--port=0", "tests.django.served:asgi"]
COMMANDS = {
    "gunicorn": GUNICORN,
    "gunicorn, loaded before the fork": [GUNICORN[0], "--preload", *GUNICORN[1:]],
    "gunicorn with threads": [GUNICORN[0], "--threads=4", *GUNICORN[1:]],
    "uvicorn": UVICORN,
}


class Served:
    """A server process, from its first line to its end."""

    def __init__(self, command: list[str], url: str) -> None:
        settings = {
            "WHISPERR_BASE_URL": url,
            "WHISPERR_API_KEY": "wrk_served",
            "PYTHONUNBUFFERED": "1",
            **QUIET,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env={**os.environ, **settings},
            stderr=subprocess.STDOUT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.url = self._address()
        self.browser = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
        )

    def get(self, path: str) -> str:
        with self.browser.open(self.url + path, timeout=BOUND) as response:
            text: str = response.read().decode()
        return text

    def end(self) -> int:
        """End it as a service manager does; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            out, _ = self.process.communicate(timeout=BOUND)
        finally:
            self.process.kill()
            self.process.communicate()
        self.lines.append(out)
        return self.process.returncode

    def _address(self) -> str:
        """Read until the server says where it listens."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            for mark in ("Listening at: ", "Uvicorn running on "):
                if mark in line:
                    return line.partition(mark)[2].split(" ")[0].strip()
        raise AssertionError("".join(self.lines))


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(keep=10_000) as started:
        yield started


@needs_signals
@pytest.mark.parametrize("name", COMMANDS)
def test_everything_is_delivered_when_the_server_is_told_to_end(
    server: LocalServer, ada: User, name: str
) -> None:
    served = Served(COMMANDS[name], server.url)
    prefix = "/a" if name == "uvicorn" else "/"
    try:
        assert served.get(f"{prefix}login/?name=ada") == str(ada.pk)
        ids = [served.get(f"{prefix}track/?n={n}") for n in range(20)]
        ids += [served.get(f"/track/?n={n}") for n in range(20, 25)]  # a sync view in any case
        assert server.arrivals() == []  # the end alone makes it deliver
    finally:
        code = served.end()
    assert (code, "Traceback" in "".join(served.lines)) in {(0, False), (-15, False)}, served.lines
    arrivals = server.arrivals()
    assert sorted(a.body["context"]["$message_id"] for a in arrivals) == sorted(ids)
    assert {a.user for a in arrivals} == {str(ada.pk)}
    assert sorted(a.body["properties"]["n"] for a in arrivals) == list(range(25))
