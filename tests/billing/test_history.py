"""What is known before a webhook: in any order of arrival, and for repeated webhooks."""

from __future__ import annotations

import itertools
import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperr.billing._history import History

if TYPE_CHECKING:
    from whisperr.billing import State

AT = datetime(2026, 7, 14, 12, tzinfo=timezone.utc)
KEY = "stripe:sub_1"
# A subscription: the id of each webhook, and what is known after it.
STORY = [("evt_1", "trial"), ("evt_2", "active"), ("evt_3", "issue"), ("evt_4", "ended")]


def read(states: dict[str, Any], number: int) -> History:
    event, _ = STORY[number]
    return History(states.get, KEY, event, AT + timedelta(hours=number))


def handle(states: dict[str, Any], number: int) -> History:
    """Read the state before a webhook, and store the one after it."""
    history = read(states, number)
    state = history.advance(user="ada", status=STORY[number][1])
    assert state is not None
    states[KEY] = json.loads(json.dumps(state))
    return history


def test_each_webhook_knows_what_was_before_it() -> None:
    states: dict[str, Any] = {}
    found = [handle(states, number) for number in range(4)]
    assert [one.get("status") for one in found] == [None, "trial", "active", "issue"]
    assert [one.known for one in found] == [False, True, True, True]
    assert found[0].reason == "there is no previous state"
    assert states[KEY]["at"] == "2026-07-14T15:00:00+00:00"
    assert states[KEY]["handled"] == ["evt_1", "evt_2", "evt_3", "evt_4"]


@pytest.mark.parametrize("order", [*itertools.permutations(range(4))])
def test_after_any_order_the_state_is_that_of_the_newest(order: tuple[int, ...]) -> None:
    states: dict[str, Any] = {}
    for number in order:
        handle(states, number)
    state = states[KEY]
    assert (state["status"], state["event"], state["user"]) == ("ended", "evt_4", "ada")
    assert sorted(state["handled"]) == ["evt_1", "evt_2", "evt_3", "evt_4"]


def test_a_late_webhook_knows_nothing_and_says_why() -> None:
    states: dict[str, Any] = {}
    handle(states, 0)
    handle(states, 2)
    late = read(states, 1)
    assert (late.known, late.is_repeated, late.get("status")) == (False, False, None)
    assert late.reason == "a newer webhook of this subscription came before it"
    assert late.user == "ada"  # which does not depend on the time


def test_what_never_changes_is_learnt_from_a_late_webhook_too() -> None:
    ended = History(None, KEY, "evt_2", AT + timedelta(days=1)).advance(status="ended")
    late = History(ended, KEY, "evt_1", AT).advance(status="active", paid_by="in_1")
    assert late is not None
    assert (late["status"], late["paid_by"]) == ("ended", "in_1")
    again = History(late, KEY, "evt_2", AT + timedelta(days=1)).advance(status="ended")
    assert again is not None
    assert again["paid_by"] == "in_1"
    other = History(late, KEY, "evt_0", AT).advance(status="trial", paid_by="in_0")
    assert other is not None
    assert other["paid_by"] == "in_1"


def test_the_newest_webhook_means_the_same_when_it_comes_again() -> None:
    states: dict[str, Any] = {}
    handle(states, 0)
    first = handle(states, 1)
    stored = dict(states[KEY])
    again = handle(states, 1)
    assert first.get("status") == again.get("status") == "trial"
    assert not again.is_repeated
    assert states[KEY] == stored


def test_an_older_webhook_that_comes_again_is_a_repetition() -> None:
    states: dict[str, Any] = {}
    handle(states, 0)
    handle(states, 1)
    stored = dict(states[KEY])
    again = handle(states, 0)
    assert (again.known, again.is_repeated) == (False, True)
    assert again.reason == "a newer webhook of this subscription was handled since"
    changed = ("handled",)  # its order only
    assert {k: v for k, v in states[KEY].items() if k not in changed} == {
        k: v for k, v in stored.items() if k not in changed
    }


def test_two_webhooks_of_one_millisecond_keep_their_order() -> None:
    first = History(None, KEY, "evt_1", AT + timedelta(microseconds=100)).advance(status="trial")
    second = History(first, KEY, "evt_2", AT + timedelta(microseconds=900)).advance(status="active")
    late = History(second, KEY, "evt_0", AT + timedelta(microseconds=500))
    assert not late.known


def test_the_first_of_two_webhooks_of_one_moment_counts_as_the_earlier_one() -> None:
    state = History(None, KEY, "evt_1", AT).advance(status="trial")
    second = History(state, KEY, "evt_2", AT)
    assert second.get("status") == "trial"


def test_a_fact_that_becomes_none_is_forgotten() -> None:
    state = History(None, KEY, "evt_1", AT).advance(status="trial", paid_by="in_1")
    after = History(state, KEY, "evt_2", AT).advance(paid_by=None)
    assert after is not None
    assert after["status"] == "trial"
    assert "paid_by" not in after


def test_the_ids_that_are_kept_are_few() -> None:
    state: State | None = None
    for number in range(100):
        state = History(state, KEY, f"evt_{number}", AT + timedelta(hours=number)).advance()
    assert state is not None
    assert state["handled"] == [f"evt_{number}" for number in range(68, 100)]
    assert "before" not in state["before"]  # it does not grow


@pytest.mark.parametrize(
    "previous",
    [
        None,
        {},
        {"key": "stripe:sub_2", "status": "active"},
        lambda _: None,
        lambda _: {},
    ],
)
def test_what_is_no_state_of_the_subscription_is_not_used(previous: Any) -> None:
    history = History(previous, KEY, "evt_1", AT)
    assert (history.known, history.reason) == (False, "there is no previous state")
    assert history.user is None


async def load(_: str) -> None:
    raise AssertionError


@pytest.mark.parametrize(
    ("previous", "kind"),
    [
        ({KEY: {"key": KEY, "status": "active"}}, "a dict without a key"),
        ('{"key": "stripe:sub_1"}', "a str"),
        (lambda _: b"{}", "a bytes"),
        (lambda _: [], "a list"),
        (load, "a coroutine"),
    ],
)
@pytest.mark.filterwarnings("ignore:coroutine 'load' was never awaited:RuntimeWarning")
def test_what_can_be_no_state_is_an_error_of_the_caller(previous: Any, kind: str) -> None:
    with pytest.raises(TypeError, match=f"^previous: got {kind}; pass the state of one"):
        History(previous, KEY, "evt_1", AT)


def test_a_webhook_of_no_subscription_asks_for_no_state_and_has_none() -> None:
    def fail(_: str) -> None:
        raise AssertionError

    history = History(fail, None, "evt_1", AT)
    assert not history.known
    assert history.advance(status="active") is None


def test_an_error_of_the_function_goes_through() -> None:
    def fail(_: str) -> None:
        raise LookupError("no database")

    with pytest.raises(LookupError, match="no database"):
        History(fail, KEY, "evt_1", AT)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("evt_1"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
STATE = st.fixed_dictionaries(
    {"key": st.just(KEY)},
    optional=dict.fromkeys(["at", "event", "before", "handled", "user", "status"], VALUES),
)


@given(previous=STATE)
def test_a_damaged_state_never_raises(previous: dict[str, Any]) -> None:
    history = History(previous, KEY, "evt_1", AT)
    assert history.get("status") in [previous.get("status"), None] or previous.get("before")
    assert history.known or history.reason
    assert json.dumps(history.advance(status="active"))
