"""docs/billing/events.md has the events, properties and lists of `whisperr.billing`, no others."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from tests.docs.page import get_names, get_rows, paste
from whisperr import BillingEvent, Whisperr, billing
from whisperr._field_types import get_annotations
from whisperr.testing import capture

if TYPE_CHECKING:
    from whisperr import Event

PAGE = "docs/billing/events.md"
EVENTS = get_rows(PAGE, "The events")
SHARED = set(billing.SubscriptionEvent._fields)
CONSTANTS = {name: value for name, value in vars(BillingEvent).items() if name.isupper()}


def get_class(event: str) -> type[Event]:
    """Return the class of an event."""
    kind: type[Event] = getattr(billing, "".join(word.title() for word in event.split("_")))
    assert kind.event_type == event
    return kind


def test_every_event_has_its_row_in_the_order_of_the_code() -> None:
    rows = [tuple(get_names(f"{row[0]} {row[1]}")) for row in EVENTS]
    assert rows == [(get_class(event).__name__, event) for event in CONSTANTS.values()]
    assert list(CONSTANTS) == [event.upper() for _, event in rows]  # as the page says


def test_an_event_has_the_meaning_and_the_properties_of_its_class() -> None:
    for _, name, meaning, own in EVENTS:
        (event,) = get_names(name)
        kind = get_class(event)
        assert set(get_names(own)) == set(kind._fields) - SHARED, event
        described = " ".join((inspect.getdoc(kind) or "").split())
        first, _, more = meaning.partition(": ")
        assert described.startswith(f"{first[0].upper()}{first[1:]}."), event
        assert more in described, event


def test_every_property_has_its_value_and_no_other_is_named() -> None:
    named = {name for row in get_rows(PAGE, "The properties") for name in get_names(row[0])}
    own = {name for event in CONSTANTS.values() for name in get_class(event)._fields}
    assert named == own | SHARED


def test_the_closed_lists_are_those_of_the_code() -> None:
    lists = {get_names(name)[0]: values for name, values in get_rows(PAGE, "Closed lists")}
    hints: dict[str, Any] = {}
    for event in CONSTANTS.values():
        hints |= get_annotations(get_class(event))
    allowed = {
        name: get_args(one)
        for name, hint in hints.items()
        for one in get_args(hint)
        if get_origin(one) is Literal
    }
    assert {name: tuple(get_names(values)) for name, values in lists.items()} == allowed


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
