"""An event that the server refuses, is kept, shown, replayed, and arrives after all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from whisperr._cli.main import main
from whisperr._queue.dead_letters import KEPT
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from pathlib import Path

    from tests.redis_server import RedisServer
    from whisperr import WhisperrError

    from .conftest import MakeClient


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/events.db"
    redis: RedisServer = request.getfixturevalue("redis_server")
    return redis.url(tmp_path.name)


def call(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run the command as a shell does, and return what it printed."""
    capsys.readouterr()
    assert main(["dead-letters", *words]) == 0
    return capsys.readouterr().out


def test_what_was_refused_is_replayed_and_arrives_with_its_id(
    server: LocalServer,
    make_client: MakeClient,
    errors: list[WhisperrError],
    url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WHISPERR_BUFFER", f"{url}{'&' if '?' in url else '?'}dead_letters=true")
    client = make_client()
    server.set_faults(faults.status(400, times=1))
    message_id = client.track("user_1", "payment_failed", {"amount_cents": 4900})
    assert client.flush(30)
    (error,) = errors
    assert (error.reason, error.status, error.count) == ("rejected", 400, 1)
    assert error.message.endswith(f"; 1 event dropped (rejected); {KEPT}")
    stats = client.stats()
    assert (stats.accepted, stats.delivered, stats.dropped) == (1, 0, {"rejected": 1})

    (listed,) = json.loads(call(capsys, "list", "--json"))["dead_letters"]
    assert (listed["type"], listed["reason"], listed["status"]) == (
        *("payment_failed", "rejected"),
        400,
    )
    (shown,) = json.loads(call(capsys, "show", listed["id"], "--json"))["dead_letters"]
    assert shown["event"]["context"]["$message_id"] == message_id
    assert shown["event"]["properties"] == {"amount_cents": 4900}
    assert server.arrivals() == []

    assert call(capsys, "replay", listed["id"]).startswith("replayed 1 event, with the same ids")
    (arrived,) = server.wait(1, timeout=30)  # the idle process looks for it by itself
    assert (arrived.status, arrived.message_id, arrived.body) == (
        *("accepted", message_id),
        shown["event"],
    )
    assert client.flush(30)
    stats = client.stats()
    assert (stats.accepted, stats.delivered, stats.dropped) == (1, 0, {"rejected": 1})
    assert call(capsys, "list").startswith("no dead letters")
