"""Each host of the table in docs/delivery/processes.md does what its row says.

Here those hosts are tried that are installed and that no other test of this folder covers;
`python -m scripts.hosts` tries all of them, and writes the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hosts.trials import TRIALS
from tests.hosts.trials.table import parse_rows
from tests.hosts.trials.trial import PAGE, Services, Trial, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HERE = [trial for trial in TRIALS if not trial.tested_by]
CASES = [
    pytest.param(trial, added, id=f"{trial.host}{', with the lines of the page' * added}")
    for trial in HERE
    for added in ((False, True) if trial.section else (False,))
]


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with Services() as started:
        yield started


@pytest.mark.parametrize(("trial", "added"), CASES)
def test_the_waiting_event_arrives_after_sigterm_as_the_page_says(
    trial: Trial, added: bool, tmp_path: Path, services: Services
) -> None:
    reason = trial.why_not()
    if reason:
        pytest.skip(reason)
    row = parse_rows(PAGE.read_text(encoding="utf-8"))[trial.host]
    assert run(trial, tmp_path, services, added=added) is (added or row.delivered)


@pytest.mark.parametrize("added", [False, True])
def test_sigterm_to_all_processes_of_hypercorn_loses_unless_they_ignore_it(
    added: bool, tmp_path: Path, services: Services
) -> None:
    (trial,) = (trial for trial in TRIALS if trial.host == "hypercorn")
    reason = trial.why_not()
    if reason:
        pytest.skip(reason)
    assert run(trial, tmp_path, services, added=added, to_all=True) is added
