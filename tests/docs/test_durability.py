"""docs/delivery/durability.md holds: its code runs, its figures are those of the code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.docs.page import get_blocks, get_text
from whisperr import buffers
from whisperr._queue.access import PATIENCE
from whisperr._queue.durable import POLL_INTERVAL
from whisperr._queue.store import LEASE, LONGEST_LEASE, SHORTEST_LEASE
from whisperr.buffers import RedisBuffer
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.redis_server import RedisServer

PAGE = get_text("docs/delivery/durability.md")
IN_ONE_LINE = " ".join(PAGE.split())


def test_every_block_of_python_runs_in_order(
    tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalServer() as server:
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_docs")
        monkeypatch.setenv("WHISPERR_BASE_URL", server.url)
        names: dict[str, Any] = {"__name__": "durability"}
        clients = []
        for number, text in enumerate(get_blocks("docs/delivery/durability.md", "python")):
            # Only the paths and the port differ from the page.
            here = text.replace("/var/lib/app", str(tmp_path))
            here = here.replace("localhost:6379", f"127.0.0.1:{redis_server.port}")
            exec(compile(here, f"durability.md, block {number + 1}", "exec"), names)
            if names["whisperr"] not in clients:
                clients.append(names["whisperr"])
                names["whisperr"].track("user_8842", "payment_failed")
        for client in clients:
            assert client.stats().problem is None
            assert client.shutdown() is True
        assert len(clients) == 5
        assert len(server.arrivals(status="accepted")) == len(clients) + 1
        assert (tmp_path / "whisperr.db").exists()


def test_the_figures_are_those_of_the_code() -> None:
    assert (PATIENCE, POLL_INTERVAL, LEASE) == (0.25, 5.0, 15.0)
    assert (SHORTEST_LEASE, LONGEST_LEASE) == (1.0, 3_600.0)
    for words in ("a quarter of a second", "every 5 seconds", "after 15 seconds by default"):
        assert words in IN_ONE_LINE
    assert "(`?lease=`, 1 to 3600)" in IN_ONE_LINE


def test_the_table_of_redis_options_has_the_defaults_of_the_code() -> None:
    pytest.importorskip("redis")
    config = RedisBuffer("redis://localhost")
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", PAGE, re.MULTILINE))
    assert set(rows) == {*RedisBuffer.__slots__} - {"_server"}
    assert {name: f"{getattr(config, name)}" for name in rows} == {
        **rows,
        "lease": "15.0",
        "dead_letters": "False",
    }


def test_every_buffer_is_in_the_guide_and_in_the_table_of_costs() -> None:
    costs = PAGE.split("<!-- costs:")[1].split("<!-- /costs -->")[0]
    names = [name for name in buffers.__all__ if name.endswith("Buffer")]
    assert len(names) > 1
    for name in names:
        assert f"{name}(" in PAGE or f"## {name.removesuffix('Buffer')}" in PAGE
        assert f"| {name.removesuffix('Buffer')}" in costs


def test_the_table_of_costs_is_filled() -> None:
    costs = PAGE.split("<!-- costs:")[1].split("<!-- /costs -->")[0]
    kinds = dict.fromkeys(re.findall(r"^\| ([A-Za-z]+)", costs, re.MULTILINE))
    assert list(kinds) == ["buffer", "memory", "SQLite", "Redis", "Django"]
