"""docs/start/events.md holds: its tables of values, keys and problems are what the client does."""

from __future__ import annotations

import inspect
import re
from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from tests.docs.page import get_names, get_rows
from whisperr import InvalidEvent, Whisperr, _contract
from whisperr.testing import capture

PAGE = "docs/start/events.md"
MOMENT = datetime(2026, 6, 14, 12, tzinfo=timezone(timedelta(hours=2)))


@dataclass
class Seats:
    """A data class."""

    used: int = 9


class Pair(NamedTuple):
    """A named tuple."""

    first: int = 1


class Plan(Enum):
    """An enum."""

    PRO = "pro"


class Printed(Decimal):
    """A subclass that prints in its own way."""

    def __str__(self) -> str:
        return f"EUR {super().__str__()}"


class Text:
    """A value of another type."""

    def __str__(self) -> str:
        return "a text"


# A value for each row of the table, and what it becomes.
VALUES: dict[str, list[tuple[Any, Any]]] = {
    "the same": [(value, value) for value in ("é", 1, 1.5, True, None, {"a": [1]}, [1, {}])],
    "RFC 3339 with its offset, `Z` for UTC; a naive one has no offset": [
        (MOMENT, "2026-06-14T12:00:00+02:00"),
        (MOMENT.astimezone(timezone.utc), "2026-06-14T10:00:00Z"),
        (MOMENT.replace(tzinfo=None), "2026-06-14T12:00:00"),
    ],
    "ISO 8601": [(date(2026, 6, 14), "2026-06-14"), (time(12, 30), "12:30:00")],
    "seconds": [(timedelta(minutes=1.5), 90.0)],
    "the number with its own digits": [(Decimal("19.90"), 19.9), (Printed("19.90"), 19.9)],
    "their string": [
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (PurePosixPath("/a"), "/a"),
    ],
    "its value": [(Plan.PRO, "pro")],
    "array": [({1}, [1]), ((1, 2), [1, 2]), ((n for n in (1, 2)), [1, 2]), (deque([1]), [1])],
    "object": [
        (Seats(), {"used": 9}),
        (Pair(), {"first": 1}),
        (OrderedDict(a=1), {"a": 1}),
    ],
    "text if it is UTF-8, else base64": [(b"ada", "ada"), (b"\xff", "/w==")],
    "`null`": [(float("nan"), None), (float("inf"), None)],
    "`str(value)`": [(Text(), "a text")],
}


def test_a_value_becomes_the_json_of_its_row() -> None:
    assert [row[1] for row in get_rows(PAGE, "Values")] == list(VALUES)
    with capture(strict=True) as events:
        client = Whisperr("wrk_test")
        for pairs in VALUES.values():
            for value, expected in pairs:
                client.track("ada", "seen", {"value": value})
                assert events[-1].properties == {"value": expected}


def test_the_digits_of_a_decimal_stay() -> None:
    with capture(strict=True) as events:
        Whisperr("wrk_test").track("ada", "seen", {"value": Printed("19.90")})
        events.assert_tracked("seen", properties={"value": Decimal("19.90")})


def test_the_arguments_of_the_page_are_those_of_track() -> None:
    rows = [get_names(row[0])[0] for row in get_rows(PAGE, "track()")]
    parameters = inspect.signature(Whisperr.track).parameters.values()
    names = [f"{p.name}=" if p.kind is p.KEYWORD_ONLY else p.name for p in parameters]
    assert rows == names[1:]


# What a caller tries to set, for each row of the table of the context.
TRIED = "of the caller"


@pytest.mark.parametrize("row", get_rows(PAGE, "Context"), ids=lambda row: row[0])
def test_a_key_of_the_context_may_be_set_where_the_page_says_so(row: list[str]) -> None:
    for key in get_names(row[0]):
        with capture(strict=True) as events:
            client = Whisperr("wrk_test", app_version="2.3.0")
            client.track("ada", "seen", None, {key: TRIED})
            may_be_set = row[2].startswith("yes")
            assert (events[0].context[key] == TRIED) is may_be_set
            Whisperr("wrk_test", test_mode=True).track("ada", "seen", None, {key: TRIED})
            may_be_set = may_be_set and "unless `test_mode` is on" not in row[2]
            assert (events[1].context[key] == TRIED) is may_be_set


def test_the_client_adds_the_first_keys_of_the_context_and_no_others() -> None:
    keys = [key for row in get_rows(PAGE, "Context") for key in get_names(row[0])]
    with capture() as events:
        Whisperr("wrk_test", app_version="2", test_mode=True).track("ada", "seen")
    assert set(events[0].context) == set(keys[:5])
    with capture() as events:
        Whisperr("wrk_test").track("ada", "seen")
    assert set(events[0].context) == set(keys[:3])


def test_the_keys_and_values_of_channels_are_those_of_the_code() -> None:
    rows = get_rows(PAGE, "Channels with their consent")
    named = {key: get_names(value) for keys, value in rows for key in get_names(keys)}
    assert tuple(named["channel"][:3]) == _contract.CHANNELS
    assert set(named) == {"channel", "address", "opted_in", "verified", *_contract.PUSH_FIELDS}
    for key, allowed in _contract.PUSH_FIELDS.items():
        assert tuple(named[key]) == allowed


@pytest.mark.parametrize("row", get_rows(PAGE, "Bad input"), ids=lambda row: row[0])
def test_bad_input_has_the_problem_of_its_row(row: list[str]) -> None:
    (call,), (problem,) = get_names(row[0]), get_names(row[1])
    with capture(strict=True), pytest.raises(InvalidEvent) as caught:
        eval(f"client.{call}", {"client": Whisperr("wrk_test"), "datetime": datetime})
    assert str(caught.value).startswith(problem)


def test_the_calls_that_deliver_exist_and_have_the_timeouts_of_the_page() -> None:
    calls = [call for row in get_rows(PAGE, "When events are sent") for call in get_names(row[0])]
    found = [re.fullmatch(r"(?:await client\.)?(\w+)\((?:timeout=(.+))?\)", call) for call in calls]
    named = {one[1]: one[2] for one in found if one is not None}
    assert list(named) == ["flush", "shutdown", "aflush", "ashutdown"]
    for method, timeout in named.items():
        parameter = inspect.signature(getattr(Whisperr, method)).parameters["timeout"]
        assert timeout is None or eval(timeout) == parameter.default
