"""What one webhook becomes: ids, contexts, users, reasons and the state after it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from whisperr.billing._collector import Collector, Source, UserFields
from whisperr.billing._history import History

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

AT = datetime(2026, 7, 14, 12, tzinfo=timezone.utc)
FIELD = "metadata.external_user_id"


def collect(
    named: object = "ada",
    user_of: Callable[[str], object] | None = None,
    customer: str | None = "cus_1",
    previous: Mapping[str, Any] | None = None,
    is_test: bool = False,
) -> Collector:
    return Collector(
        Source("stripe", "evt_1", "invoice.paid", AT, is_test),
        History(previous, "stripe:sub_1", "evt_1", AT),
        UserFields({FIELD: named}, user_of, customer),
    )


def test_the_id_and_the_context_name_the_webhook() -> None:
    collected = collect()
    collected.add("renewal_succeeded", {"price": 9, "currency": None}, occurrence="stripe:in_1")
    (signal,) = collected.finish()
    assert (signal.user, signal.event_type, signal.occurred_at) == ("ada", "renewal_succeeded", AT)
    assert signal.message_id == "evt_1:renewal_succeeded"
    assert signal.properties == {"price": 9}
    assert signal.context == {
        "provider": "stripe",
        "provider_event_id": "evt_1",
        "provider_event_type": "invoice.paid",
        "$occurrence_key": "stripe:in_1:renewal_succeeded",
    }


def test_two_meanings_of_a_webhook_have_two_ids_and_occurrences() -> None:
    collected = collect()
    for event_type in ("billing_recovered", "renewal_succeeded"):
        collected.add(event_type, {}, occurrence="stripe:in_1")
    signals = collected.finish()
    assert len({one.message_id for one in signals}) == 2
    assert len({one.context["$occurrence_key"] for one in signals}) == 2


def test_a_test_environment_and_an_own_time_are_kept() -> None:
    earlier = AT - timedelta(hours=1)
    collected = collect(is_test=True)
    collected.add("trial_started", {}, occurred_at=earlier)
    (signal,) = collected.finish()
    assert signal.context["$mode"] == "test"
    assert "$occurrence_key" not in signal.context
    assert signal.occurred_at == earlier


@pytest.mark.parametrize(
    ("named", "stored", "found", "user"),
    [
        ("ada", "grace", "joan", "ada"),
        (7, "grace", "joan", "7"),
        (None, "grace", "joan", "grace"),
        ("  ", None, "joan", "joan"),
        (True, None, 8842, 8842),
        ({"id": "ada"}, None, UUID(int=7), UUID(int=7)),
    ],
)
def test_the_payload_goes_before_the_state_and_the_state_before_the_function(
    named: object, stored: str | None, found: object, user: object
) -> None:
    previous = {"key": "stripe:sub_1", "user": stored}
    collected = collect(named, lambda _: found, previous=previous)
    collected.add("trial_started", {})
    signals = collected.finish()
    assert signals[0].user == user
    assert signals.state is not None
    assert signals.state["user"] == str(user)


def test_what_can_be_no_user_is_not_kept() -> None:
    collected = collect(None, lambda _: True)
    collected.add("trial_started", {})
    signals = collected.finish()
    assert signals[0].user is True  # which the client refuses, with its reason
    assert signals.state is not None
    assert "user" not in signals.state


@pytest.mark.parametrize("found", ["joan", None])
def test_user_of_is_called_once_and_only_for_a_signal(found: object) -> None:
    customers: list[str] = []

    def find(customer: str) -> object:
        customers.append(customer)
        return found

    collected = collect(None, find)
    collected.skip("an invoice of 0: a trial begins")
    assert customers == []
    collected.add("billing_recovered", {})
    collected.add("renewal_succeeded", {})
    collected.finish()
    assert customers == ["cus_1"]


@pytest.mark.parametrize(
    ("user_of", "customer", "reason"),
    [
        (None, None, "and no id of a customer for user_of"),
        (lambda _: "joan", None, "and no id of a customer for user_of"),
        (None, "cus_1", "and user_of is not given"),
        (lambda _: None, "cus_1", "and user_of returned None"),
        (lambda _: " ", "cus_1", "and user_of returned None"),
    ],
)
def test_a_signal_without_a_user_is_skipped_and_says_where_it_was_looked_for(
    user_of: Callable[[str], object] | None, customer: str | None, reason: str
) -> None:
    collected = collect(None, user_of, customer)
    collected.add("trial_started", {})
    signals = collected.finish(status="trial")
    assert list(signals) == []
    (skipped,) = signals.skipped
    assert skipped.event_type == "invoice.paid"
    assert skipped.reason == f"trial_started: no user in {FIELD}, {reason}"
    assert signals.state is not None
    assert signals.state["status"] == "trial"
    assert "user" not in signals.state


def test_an_error_of_user_of_goes_through() -> None:
    def fail(_: str) -> None:
        raise LookupError("the customer is not stored yet")

    with pytest.raises(LookupError, match="not stored yet"):
        collect(None, fail).add("trial_started", {})
