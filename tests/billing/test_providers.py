"""What holds for the webhooks of all providers."""

from __future__ import annotations

import copy
import json
from datetime import datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.billing.cases import Case, Provider, get_providers
from whisperr import BillingEvent, Whisperr, billing
from whisperr._field_types import check_types
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator

PROVIDERS = get_providers()
EVENTS = [value for name, value in vars(BillingEvent).items() if name.isupper()]
ALL = [
    pytest.param(provider, case, id=f"{provider.name}: {case.sentence}")
    for provider in PROVIDERS
    for case in provider.cases
]
every_case = pytest.mark.parametrize(("provider", "case"), ALL)
every_provider = pytest.mark.parametrize("provider", PROVIDERS, ids=lambda one: one.name)


@every_case
def test_a_webhook_means_what_its_case_says(provider: Provider, case: Case) -> None:
    signals = provider.get_signals(case)
    assert {one.event_type: one.properties for one in signals} == case.expected
    reasons = [one.reason for one in signals.skipped]
    if case.reason:
        assert case.reason in "\n".join(reasons)
    else:
        assert reasons == []
    found = {one.event_type: one.context.get("$occurrence_key") for one in signals}
    assert {name: found[name] for name in case.occurrences} == case.occurrences


@every_provider
def test_each_event_has_a_webhook(provider: Provider) -> None:
    assert {name for case in provider.cases for name in case.expected} == set(EVENTS)


@every_case
def test_a_signal_has_an_id_a_time_and_its_origin(provider: Provider, case: Case) -> None:
    for signal in provider.get_signals(case):
        event_id = signal.context["provider_event_id"]
        assert signal.message_id == f"{event_id}:{signal.event_type}"
        assert signal.occurred_at.tzinfo is timezone.utc
        assert signal.context["provider"] == provider.name
        assert set(signal.context) <= {
            *("provider", "provider_event_id", "provider_event_type", "$occurrence_key", "$mode"),
        }


@every_case
def test_json_means_the_same_as_a_dict(provider: Provider, case: Case) -> None:
    expected = provider.get_signals(case)
    for payload in (json.dumps(case.payload), json.dumps(case.payload).encode()):
        found = provider.get_signals(case, payload)
        assert (found, found.skipped, found.state) == (expected, expected.skipped, expected.state)


@every_case
def test_a_webhook_that_comes_again_means_the_same(provider: Provider, case: Case) -> None:
    first = provider.get_signals(case)
    again = provider.get_signals(case, previous=first.state or case.previous)
    assert (again, again.state) == (first, first.state)
    assert again.skipped == first.skipped


@every_case
def test_the_state_is_json_with_a_short_key(provider: Provider, case: Case) -> None:
    state = provider.get_signals(case).state
    if state is not None:
        assert json.loads(json.dumps(state)) == state
        assert state["key"].startswith(f"{provider.name}:")
        assert len(state["key"]) <= 255


@every_case
def test_the_payload_stays_as_it_is(provider: Provider, case: Case) -> None:
    before = copy.deepcopy(case.payload)
    provider.get_signals(case)
    assert case.payload == before


@every_provider
@pytest.mark.parametrize("payload", [b"", b"no json", "[]", b"\xff", [], 7, None, object(), {}])
def test_what_is_no_webhook_is_skipped_with_a_reason(provider: Provider, payload: Any) -> None:
    signals = provider.get_signals(Case("", {}), payload if payload is not None else "null")
    assert (list(signals), signals.state) == ([], None)
    assert signals.skipped[0].reason


def get_paths(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything inside a payload."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for name, one in items:
        yield (*path, name)
        yield from get_paths(one, (*path, name))


MISSING = object()
WRONG = [
    *(MISSING, None, "", " ", "x", 0, -1, 10**40, 1.5, float("nan"), True, [], {}, [None], [{}]),
    *("9999-99-99T99:99:99Z", {"id": None}, "\ud800", 2**63),
]


@given(data=st.data())
def test_whatever_a_field_holds_there_is_a_signal_or_a_reason(data: st.DataObject) -> None:
    provider = data.draw(st.sampled_from(PROVIDERS))
    case = data.draw(st.sampled_from(provider.cases))
    payload = copy.deepcopy(case.payload)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([*get_paths(payload)] or [("id",)]))
        parent: Any = payload
        for name in path[:-1]:
            parent = parent[name]
        value = data.draw(st.sampled_from(WRONG))
        if value is not MISSING:
            parent[path[-1]] = copy.deepcopy(value)
        elif isinstance(parent, dict):
            parent.pop(path[-1], None)
        if not payload:
            break
    signals = provider.get_signals(case, payload)
    assert signals or signals.skipped


def test_the_server_accepts_every_signal() -> None:
    with (
        LocalServer() as server,
        Whisperr("wrk_test", base_url=server.url, strict=True, flush_at=500) as client,
    ):
        for provider in PROVIDERS:
            for case in provider.cases:
                assert None not in client.track_signals(provider.get_signals(case))
        assert client.flush(timeout=60)
        assert [(one.message_id, one.problems) for one in server.arrivals(status="refused")] == []
        assert server.arrivals()


@every_case
def test_properties_are_those_of_the_event_with_their_types(provider: Provider, case: Case) -> None:
    for signal in provider.get_signals(case):
        kind = getattr(billing, "".join(word.title() for word in signal.event_type.split("_")))
        check_types(kind(**signal.properties))
        for name, value in signal.properties.items():
            if name.endswith("_ends_at"):
                assert datetime.fromisoformat(value.replace("Z", "+00:00")).tzinfo is not None
        assert isinstance(signal.properties.get("price", Decimal()), Decimal)
