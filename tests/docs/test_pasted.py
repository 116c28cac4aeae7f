"""Pages that a newcomer pastes from top to bottom into one file: that file runs, as shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.docs.page import get_blocks, paste
from tests.docs.pasted import run, run_in_dev
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from pathlib import Path

# What arrives from each page, in this order; an identify is "identify".
ARRIVING = {
    "README.md": ["payment_failed", "identify", "seat_removed"],
    "docs/index.md": ["payment_failed"],
    "docs/start/events.md": [
        *("payment_failed", "identify", "seat_removed", "invoice_overdue", "payment_failed"),
        *("payment_failed", "plan_upgraded", "export_failed", "payment_failed"),
        "export_failed",
        *("identify", "identify", "identify", "identify", "report_failed", "import_finished"),
    ],
    "docs/billing/events.md": ["billing_issue_started", "membership_started", "membership_ended"],
}


@pytest.mark.parametrize("page", ARRIVING)
def test_a_page_pasted_into_one_file_runs_and_everything_arrives(page: str, tmp_path: Path) -> None:
    with LocalServer() as server:
        done = run(
            tmp_path, paste(page), WHISPERR_BASE_URL=server.url, WHISPERR_API_KEY="wrk_pasted"
        )
        assert [arrival.problems for arrival in server.arrivals(status="refused")] == []
        assert [arrival.type or "identify" for arrival in server.arrivals()] == ARRIVING[page]
    assert done.stderr == ""  # nothing was lost, no warning


@pytest.mark.parametrize("page", ARRIVING)
def test_it_runs_through_whisperr_dev_without_a_key(page: str, tmp_path: Path) -> None:
    done = run_in_dev(tmp_path, paste(page))
    shown = re.findall(r"^[\d:.]+ [✓=] (\w+)", done.stderr, re.MULTILINE)
    assert shown == ARRIVING[page]


def to_comparable(output: str) -> str:
    """Return an output with one time of day and one port, as the page has them."""
    output = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8722", output)
    return re.sub(r"\d\d:\d\d:\d\d\.\d{3}", "12:00:00.000", output)


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_first_program_shows_what_the_page_shows(page: str, tmp_path: Path) -> None:
    (shown,) = get_blocks(page, "text")
    first, *_ = get_blocks(page, "python")
    assert len(first.split("\n\n")) == 2
    assert to_comparable(run_in_dev(tmp_path, first).stderr) == shown


def test_the_first_page_does_not_shut_its_client_down() -> None:
    blocks = get_blocks("README.md", "python")
    assert [block for block in blocks if "shutdown" in block] == []


def test_the_message_of_bad_input_is_the_one_that_is_shown(tmp_path: Path) -> None:
    (shown,) = get_blocks("docs/start/events.md", "text")
    assert run_in_dev(tmp_path, paste("docs/start/events.md")).stdout == shown
