"""docs/processes.md holds: its code runs and delivers, and every host it names has a test."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.docs.page import ROOT, get_blocks, get_text
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = "docs/processes.md"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    before = signal.getsignal(signal.SIGTERM)
    with LocalServer() as started:
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_page")
        monkeypatch.setenv("WHISPERR_BASE_URL", started.url)
        yield started
    signal.signal(signal.SIGTERM, before)


class FakeSignal:
    """Stands in for a signal of Celery; keeps what is connected to it."""

    def __init__(self) -> None:
        self.receivers: list[Any] = []

    def connect(self, receiver: Any) -> Any:
        self.receivers.append(receiver)
        return receiver


@pytest.fixture
def shutdown_signal(monkeypatch: pytest.MonkeyPatch) -> FakeSignal:
    """Put a small `celery.signals` in place; tests/hosts uses the real one."""
    fake, module = FakeSignal(), ModuleType("celery.signals")
    vars(module)["worker_process_shutdown"] = fake
    monkeypatch.setitem(sys.modules, "celery", ModuleType("celery"))
    monkeypatch.setitem(sys.modules, "celery.signals", module)
    return fake


def test_every_block_of_python_runs_in_order_and_delivers(
    server: LocalServer, shutdown_signal: FakeSignal
) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    for number, text in enumerate(get_blocks(PAGE, "python")):
        exec(compile(text, f"{PAGE}, block {number + 1}", "exec"), names)
    with pytest.raises(SystemExit):
        signal.raise_signal(signal.SIGTERM)

    names["charge"]("user_8842")
    assert [a.type for a in server.arrivals(status="accepted")] == ["payment_failed"]

    async def run() -> None:
        async with names["lifespan"](SimpleNamespace()):
            names["whisperr"].track("user_8842", "seat_removed")

    asyncio.run(run())
    assert [a.type for a in server.arrivals()] == ["payment_failed", "seat_removed"]
    assert not names["whisperr"].ready
    assert [receiver() for receiver in shutdown_signal.receivers] == [None]


def test_the_options_of_uwsgi_are_those_of_the_tests() -> None:
    hosts = (ROOT / "tests" / "hosts" / "test_uwsgi.py").read_text(encoding="utf-8")
    options = dict(line.split(" = ") for line in get_blocks(PAGE, "ini")[0].splitlines())
    assert options == {
        "enable-threads": "true",
        "hook-master-start": "unix_signal:15 gracefully_kill_them_all",
    }
    assert all(f"--{name}" in hosts for name in options)
    assert options["hook-master-start"] in hosts


def test_every_host_of_the_table_has_a_test() -> None:
    rows = re.findall(r"^\| ([^|]+) \|", get_text(PAGE), re.MULTILINE)
    tests = "".join(
        path.read_text(encoding="utf-8")
        for folder in (
            "hosts",
            "os_processes",
            "asgi",
            "aws_lambda",
            "celery",
            "django",
            "flask",
            "task_queues",
        )
        for path in sorted((ROOT / "tests" / folder).glob("test_*.py"))
    ).lower()
    named = [re.split(r"[ ,:]", row.replace("a plain", "plain").strip("`"))[0] for row in rows[1:]]
    assert len(named) >= 10
    for name in named[1:] if named[0].startswith("-") else named:
        assert name.strip("`").lower() in tests, name
