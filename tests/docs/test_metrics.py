"""docs/delivery/metrics.md holds: its code runs, its fields are those of the code."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from tests.docs.page import get_blocks, get_names, get_rows, paste
from tests.docs.pasted import run
from whisperr._cli.main import make_parser
from whisperr._delivery.accounting import NEVER_ACCEPTED, Stats
from whisperr._integrations.outbox_report import Figures
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "docs/delivery/metrics.md"


def get_first_names(heading: str) -> set[str]:
    return {name for row in get_rows(PAGE, heading) for name in get_names(row[0])}


def test_the_code_runs(tmp_path: Path) -> None:
    with LocalServer() as server:
        environment = {"WHISPERR_BASE_URL": server.url, "WHISPERR_API_KEY": "wrk_test"}
        assert run(tmp_path, paste(PAGE), **environment).stderr == ""
        assert [arrival.type for arrival in server.arrivals()] == ["payment_failed"]


def test_the_fields_are_those_of_the_code() -> None:
    assert get_first_names("The fields") == set(Stats.__slots__)
    assert get_first_names("When a relay delivers") == set(Figures._fields)


def test_the_reasons_of_calls_that_are_not_accepted_are_those_of_the_code() -> None:
    (row,) = [row for row in get_rows(PAGE, "The fields") if row[0] == "`not_accepted`"]
    assert set(get_names(row[1])) == set(NEVER_ACCEPTED)


def test_an_alert_names_fields_that_exist() -> None:
    alerts = get_first_names("Alerts")
    assert alerts
    assert alerts <= {*Stats.__slots__, *NEVER_ACCEPTED, "paused"}


def test_the_commands_are_understood() -> None:
    (block,) = get_blocks(PAGE, "console")
    calls = [shlex.split(line) for line in block.splitlines()]
    assert [call[0] for call in calls] == ["python", "whisperr"]
    assert make_parser().parse_args(calls[1][1:]).json
