"""docs/billing/events.md has the events, properties and lists of `whisperr.billing`, no others."""

from __future__ import annotations

import inspect
from typing import Any, get_args, get_type_hints

from tests.docs.page import get_names, get_rows, paste
from whisperr import BillingEvent, Whisperr, billing
from whisperr.testing import capture

PAGE = "docs/billing/events.md"
EVENTS = get_rows(PAGE, "The events")
SHARED = set(get_type_hints(billing.BillingProperties))
CONSTANTS = {name: value for name, value in vars(BillingEvent).items() if name.isupper()}


def get_properties(event: str) -> Any:
    """Return the typed dictionary of an event."""
    return getattr(billing, "".join(word.title() for word in event.split("_")))


def test_every_event_has_its_row_in_the_order_of_the_code() -> None:
    assert [tuple(get_names(f"{row[0]} {row[1]}")) for row in EVENTS] == list(CONSTANTS.items())


def test_an_event_has_the_meaning_and_the_properties_of_its_type() -> None:
    for _, name, meaning, own in EVENTS:
        (event,) = get_names(name)
        kind = get_properties(event)
        assert set(get_names(own)) == set(get_type_hints(kind)) - SHARED, event
        described = " ".join((inspect.getdoc(kind) or "").split())
        first, _, more = meaning.partition(": ")
        assert described.startswith(f"Properties of `{event}`: {first}."), event
        assert more in described, event


def test_every_property_has_its_value_and_no_other_is_named() -> None:
    named = {name for row in get_rows(PAGE, "The properties") for name in get_names(row[0])}
    own = {name for event in CONSTANTS.values() for name in get_type_hints(get_properties(event))}
    assert named == own | SHARED


def test_the_closed_lists_are_those_of_the_code() -> None:
    lists = {get_names(name)[0]: values for name, values in get_rows(PAGE, "Closed lists")}
    hints: dict[str, Any] = {}
    for event in CONSTANTS.values():
        hints |= get_type_hints(get_properties(event))
    closed = {name: get_args(hint) for name, hint in hints.items() if name in lists}
    assert {name: tuple(get_names(values)) for name, values in lists.items()} == closed
    others = {name for name, hint in hints.items() if get_args(hint) and name not in lists}
    assert others == {"entitlements", "price"}  # a list of strings, a number of two types


def test_a_webhook_that_arrives_twice_is_one_event() -> None:
    names: dict[str, Any] = {"__name__": "pasted"}
    with capture(strict=True) as events:
        exec(
            compile(paste(PAGE).replace("Whisperr()", 'Whisperr("wrk_test")'), PAGE, "exec"), names
        )
        assert isinstance(names["whisperr"], Whisperr)
        webhook = {"id": "evt_1", "customer": "ada", "amount_cents": 4900}
        webhook["created"] = int(events[0].occurred_at.timestamp()) - 3600
        for _ in range(2):
            names["on_payment_failed"](webhook)
    _, first, second = events.named("billing_issue_started")
    assert first.message_id == second.message_id == "evt_1"
    assert first.occurred_at.timestamp() == webhook["created"]
    assert first.properties["price"] == 49.0
