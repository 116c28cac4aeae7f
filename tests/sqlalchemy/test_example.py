"""The example: a FastAPI application with an AsyncSession, a rollback, and the relay."""

from __future__ import annotations

import runpy
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("sqlalchemy")

pytest.importorskip("fastapi")
pytest.importorskip("aiosqlite")

from fastapi.testclient import TestClient

from whisperr._cli.main import main
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "sqlalchemy_app.py"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    with LocalServer() as started:
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_example")
        monkeypatch.setenv("WHISPERR_BASE_URL", started.url)
        yield started


def test_what_is_committed_arrives_and_what_is_rolled_back_does_not(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shop.db"
    monkeypatch.setenv("DATABASE_URL", f"sqlite+aiosqlite:///{path}")
    names: dict[str, Any] = runpy.run_path(str(EXAMPLE))
    with TestClient(names["app"]) as browser:
        done = browser.post("/users/ada/plan?name=pro")
        assert done.status_code == 200
        assert browser.post("/users/ada/plan?name=gold").status_code == 400
        assert browser.post("/users/grace/plan?name=free").status_code == 200
    assert server.arrivals() == []  # the application itself sends nothing
    with closing(sqlite3.connect(path)) as connection:
        plans = connection.execute("SELECT id, plan FROM account ORDER BY id").fetchall()
    assert plans == [("ada", "pro"), ("grace", "free")]
    assert main(["relay", "--database", f"sqlite:///{path}", "--once"]) == 0
    arrivals = server.arrivals()
    assert [(a.user, a.type, a.body["properties"]) for a in arrivals] == [
        ("ada", "plan_upgraded", {"plan": "pro"}),
        ("grace", "plan_upgraded", {"plan": "free"}),
    ]
    assert arrivals[0].body["context"]["$message_id"] == done.json()["message_id"]
    assert [a.problems for a in arrivals] == [(), ()]
