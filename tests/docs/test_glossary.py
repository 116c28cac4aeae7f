"""docs/reference/glossary.md defines every word of the project once, in alphabetical order."""

from __future__ import annotations

import re

from tests.docs.page import get_text

PAGE = get_text("docs/reference/glossary.md")
TERMS = re.findall(r"^- \*\*(.+?)\*\*: ", PAGE, re.MULTILINE)
# What the code, the tests and the pages say for an idea that once had a private word.
REQUIRED = """
    accepted, accounting, ack, arrival, backoff, barrier, batch, blocked, buffer config, call
    site, capture, claim, counters, dead letter, deferred event, delivered, delivery thread,
    drain, dropped, event, extend, fault injection, foreign event, give-up, held, hint, hold,
    identify, in flight, integration, jitter, lease, leased queue, loss, message id, not
    accepted, occurrence, occurrence key, outbox, override, own event, pace, part, pause, poll,
    queue, reason, relay, release, report, resolver, retry, Retry-After, scheduler, scope, settled,
    shared queue, signal, sink, state, sweep, tail, tracker, validation, verdict, wake-up
"""


def test_every_word_is_defined_once_and_in_order() -> None:
    assert len(set(TERMS)) == len(TERMS) > 50
    _, *lists = PAGE.split("\n## ")
    assert len(lists) == 2
    for text in lists:
        terms = re.findall(r"^- \*\*(.+?)\*\*: ", text, re.MULTILINE)
        assert sorted(terms, key=str.lower) == terms


def test_no_word_of_the_project_is_missing() -> None:
    required = {" ".join(term.split()) for term in REQUIRED.split(",")}
    assert required - set(TERMS) == set()


def test_every_word_in_italics_has_an_entry() -> None:
    known = {form for term in TERMS for form in (term.lower(), f"{term.lower()}s")}
    used = {
        " ".join(word.split()).lower() for word in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", PAGE)
    }
    assert used - known - {"italics"} == set()
