"""docs/trouble/symptoms.md shows the records that the faults really lead to."""

from __future__ import annotations

import re

import pytest
from scripts.symptoms import SYMPTOMS, normalise, run

from tests.docs.page import get_text
from tests.redis_server import why_not

PAGE = get_text("docs/trouble/symptoms.md")
SHOWN = dict(
    re.findall(
        r"<!-- record: (\w+) -->\n```text\n(.*)\n```\n<!-- /record -->",
        PAGE,
    )
)
# Timeouts are as short as possible; the records name the limit, which is normalised.
OPTIONS = {"hang": {"request_timeout": 0.3}, "firewall": {"request_timeout": 0.3}}
LIMIT = 60.0


def test_the_page_has_a_record_of_every_fault() -> None:
    assert set(SHOWN) == set(SYMPTOMS)


@pytest.mark.parametrize("name", SYMPTOMS)
def test_a_fault_leads_to_the_record_on_the_page(name: str) -> None:
    if name == "redis_away" and (reason := why_not()):
        pytest.skip(reason)
    if name == "tls":
        pytest.importorskip("trustme", reason="trustme: not installed")
    try:
        outcome = run(SYMPTOMS[name], OPTIONS.get(name, {}), limit=LIMIT)
    except LookupError as missing:
        pytest.skip(str(missing))
    assert normalise(outcome.record) == SHOWN[name]


@pytest.mark.parametrize("name", SYMPTOMS)
def test_a_record_says_where_what_becomes_of_the_events_and_what_to_do(name: str) -> None:
    record = SHOWN[name]
    assert record.startswith("whisperr: ")
    assert record.count("whisperr: ") == 1
    assert re.search(r"; (\d+ )?events? (kept|dropped)\b", record)
    assert record.rpartition("; ")[2].startswith(('run "whisperr doctor"', "set this machine's"))
    if name not in ("full_queue", "full_disk"):
        assert re.search(r"[\w.]+:\d+", record)  # a host with its port
