"""docs/billing/webhooks.md: its code runs in order and does what the page says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("flask")
pytest.importorskip("sqlalchemy")
pytest.importorskip("stripe")

from tests.billing import test_stripe as stories
from tests.docs.page import get_blocks, get_text
from whisperr._cli.main import main
from whisperr.billing import _history
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = "docs/billing/webhooks.md"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    with LocalServer() as started:
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_guide")
        monkeypatch.setenv("WHISPERR_BASE_URL", started.url)
        yield started


@pytest.fixture
def names(server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)  # where the database is
    found: dict[str, Any] = {"__name__": "guide"}
    for number, block in enumerate(get_blocks(PAGE, "python")):
        here = block.replace("whsec_yours", stories.SECRET)
        exec(compile(here, f"{PAGE}, block {number + 1}", "exec", dont_inherit=True), found)
    return found


def test_the_view_tracks_a_signed_webhook_once(names: dict[str, Any], server: LocalServer) -> None:
    browser = names["app"].test_client()
    for one in (stories.TRIAL, stories.FIRST, stories.CONVERTED, stories.TRIAL):
        body = json.dumps(one)
        headers = {"Stripe-Signature": stories.sign(body)}
        answer = browser.post("/webhooks/stripe", data=body, headers=headers)
        assert answer.status_code == 204
    assert names["whisperr"].shutdown()
    found = [(one.user, one.type) for one in server.arrivals(status="accepted")]
    assert found == [("user_8842", "trial_started"), ("user_8842", "trial_converted")]


def test_the_reasons_and_the_user_are_found(
    names: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    other = {**stories.TRIAL, "type": "customer.created"}
    names["explain"](other)
    assert capsys.readouterr().out == (
        "customer.created - customer.created is no change of a subscription\n"
    )
    trial = json.loads(json.dumps(stories.TRIAL))
    trial["data"]["object"]["metadata"] = {}
    assert [one.user for one in names["get_signals"](trial)] == ["user_8842"]


def test_a_table_keeps_the_state_in_the_transaction_of_the_events(
    names: dict[str, Any], server: LocalServer
) -> None:
    for one in (stories.TRIAL, stories.FIRST, stories.CONVERTED, stories.TRIAL):
        names["handle"](one)
    names["engine"].dispose()
    assert main(["relay", "--database", "sqlite:///app.db", "--once"]) == 0
    found = [one.type for one in server.arrivals(status="accepted")]
    assert found == ["trial_started", "trial_converted"]


def test_its_test_passes(names: dict[str, Any]) -> None:
    names["test_a_deleted_subscription_is_the_end_of_a_membership"]()


def test_the_number_of_ids_is_that_of_the_code() -> None:
    assert f"the ids of its {_history._MAX_HANDLED} newest webhooks" in get_text(PAGE)
