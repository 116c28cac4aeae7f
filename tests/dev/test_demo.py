"""The demo: its day, its run as a real process, and that it notices a lost event."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any, cast

import pytest

from whisperr.dev._console.demo import _tally, make_day

END = datetime(2026, 6, 14, 12, tzinfo=timezone.utc)


def test_the_same_seed_makes_the_same_day() -> None:
    assert make_day(20, 1, END) == make_day(20, 1, END)
    assert make_day(20, 1, END) != make_day(20, 2, END)


def test_a_day_has_some_two_thousand_calls_of_every_kind() -> None:
    calls = make_day(240, 8842, END)
    names = Counter(call.name for call in calls)
    assert 1_800 < len(calls) < 2_500
    for name in ("trial_started", "payment_failed", "trial_auto_renew_disabled", None):
        assert names[name] > 10


def test_a_day_lies_within_the_window_of_the_service_and_in_order() -> None:
    moments = [call.at for call in make_day(50, 3, END)]
    assert moments == sorted(moments)
    assert END - timedelta(days=1) < moments[0] < moments[-1] <= END


def test_the_demo_loses_and_duplicates_nothing() -> None:
    command = [sys.executable, "-m", "whisperr", "demo", "--users", "30"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures = dict(re.findall(r"^(\w+) {2,}(\d+)", ended.stdout, re.MULTILINE))
    assert (figures["lost"], figures["doubled"]) == ("0", "0")
    assert int(figures["sent"]) > 100
    assert re.search(r"[1-9]\d* x 503", ended.stdout)
    assert "1 x 429" in ended.stdout
    assert ended.stderr == ""


@pytest.mark.parametrize(
    ("arrived", "missing", "duplicated", "foreign"),
    [
        (["a", "b"], 0, 0, 0),
        (["a"], 1, 0, 0),
        (["a", "b", "b"], 0, 1, 0),
        (["a", "b", "c"], 0, 0, 1),
    ],
)
def test_missing_duplicated_and_foreign_events_are_counted(
    arrived: list[str], missing: int, duplicated: int, foreign: int
) -> None:
    identify = SimpleNamespace(message_id=None, user="u", body={"traits": {"plan": "pro"}})
    events = [SimpleNamespace(message_id=message_id) for message_id in arrived]

    def arrivals(**filters: str) -> list[Any]:
        return [identify] if filters.get("kind") == "identify" else [*events, identify]

    server = cast("Any", SimpleNamespace(arrivals=arrivals, summary=lambda: {"refused": 0}))
    traffic = cast("Any", SimpleNamespace(ids=["a", "b"], identified=[("u", "pro")]))
    tally = _tally(server, traffic)
    assert (tally.missing, tally.duplicated, tally.foreign) == (missing, duplicated, foreign)
    assert tally.is_perfect is not any((missing, duplicated, foreign))
