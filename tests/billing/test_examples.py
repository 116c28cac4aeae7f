"""The examples: signed webhooks of Stripe, sent twice and out of order, become events."""

from __future__ import annotations

import json
import runpy
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("stripe")

from tests.billing.cases import NOW
from tests.billing.cases.stripe import DAY, DELETED, subscription, webhook
from tests.billing.test_stripe import CONVERTED, FIRST, SECRET, TRIAL, sign
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("_no_client_of_the_process")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ENDED = webhook(DELETED, subscription("canceled"), event="evt_ended", happened=NOW + DAY)
# The first payment comes before the conversion that it belongs to, and the end of all before both.
ARRIVING = [TRIAL, TRIAL, FIRST, CONVERTED, ENDED, CONVERTED, FIRST, ENDED]
EVENTS = ["trial_started", "trial_converted", "membership_ended"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    with LocalServer() as started:
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_example")
        monkeypatch.setenv("WHISPERR_BASE_URL", started.url)
        monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", SECRET)
        yield started


def send_all(post: Callable[..., Any]) -> list[str]:
    """Send the webhooks as Stripe does; return the ids of what was tracked."""
    tracked: list[str] = []
    for one in ARRIVING:
        body = json.dumps(one)
        answer = post("/webhooks/stripe", body.encode(), {"stripe-signature": sign(body)})
        assert answer.status_code == 200
        found = answer.json if isinstance(answer.json, dict) else answer.json()
        tracked += found["tracked"]
    forged = post("/webhooks/stripe", b"{}", {"stripe-signature": sign("[]")})
    unsigned = post("/webhooks/stripe", b"{}", {})
    assert (forged.status_code, unsigned.status_code) == (400, 400)
    return tracked


def check(server: LocalServer, tracked: list[str]) -> None:
    arrivals = server.arrivals(status="accepted")
    assert [(one.user, one.type) for one in arrivals] == [("user_8842", name) for name in EVENTS]
    assert {one.message_id for one in arrivals} == set(tracked)
    assert len(tracked) > len(EVENTS)  # the server has dropped the duplicates
    assert server.arrivals(status="refused") == []


def test_the_flask_application_tracks_each_webhook_once(server: LocalServer) -> None:
    pytest.importorskip("flask")
    names = runpy.run_path(str(EXAMPLES / "stripe_flask.py"))
    browser = names["app"].test_client()
    tracked = send_all(lambda url, body, headers: browser.post(url, data=body, headers=headers))
    with names["app"].app_context():
        assert names["current"].client.shutdown()
    check(server, tracked)
    assert names["states"]["stripe:sub_1"]["status"] == "ended"


def test_the_fastapi_application_tracks_each_webhook_once(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    monkeypatch.setenv("STATES", str(tmp_path / "states.db"))
    names = runpy.run_path(str(EXAMPLES / "stripe_fastapi.py"))
    with TestClient(names["app"]) as browser:  # at the end, the middleware delivers
        tracked = send_all(
            lambda url, body, headers: browser.post(url, content=body, headers=headers)
        )
    check(server, tracked)
    with closing(sqlite3.connect(tmp_path / "states.db")) as states:
        ((key, state),) = states.execute("SELECT key, state FROM state").fetchall()
    assert (key, json.loads(state)["status"]) == ("stripe:sub_1", "ended")
