"""Default properties of a client, and scopes: what each event gets, and where a scope holds."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import subprocess
import sys
import threading
from collections import UserDict
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import whisperr
from whisperr import Event, InvalidEvent, Whisperr, WhisperrError, scope
from whisperr._events.event import EventEncoder
from whisperr._events.scope import SCOPES
from whisperr.testing import capture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

SDK = {"sdk_name": "whisperr-python", "sdk_version": "1"}


def encode(encoder: EventEncoder | None = None, *given: Any, **named: Any) -> dict[str, Any]:
    data = (encoder or EventEncoder("1")).encode("u", "done", *given, **named)[1]
    event: dict[str, Any] = json.loads(data)
    return event


def get_properties(encoder: EventEncoder | None = None, *given: Any) -> Any:
    return encode(encoder, *given)["properties"]


class Upgraded(Event):
    plan: str
    coupon: str | None = None


class Name(str, Enum):
    PLAN = "plan"


class TestWhoWins:
    def test_a_scope_adds_its_properties(self) -> None:
        with scope(tenant="acme"):
            assert get_properties(None, {"rows": 1}) == {"rows": 1, "tenant": "acme"}
            assert get_properties() == {"tenant": "acme"}
        assert get_properties() == {}

    def test_the_call_wins_over_scopes_and_the_inner_scope_over_the_outer_one(self) -> None:
        encoder = EventEncoder("1", default_properties={"a": 0, "b": 0, "c": 0, "d": 0})
        with scope(a=1, b=1, c=1), scope(a=2, b=2):
            assert get_properties(encoder, {"a": 3}) == {"a": 3, "b": 2, "c": 1, "d": 0}
        assert get_properties(encoder, {"a": 3}) == {"a": 3, "b": 0, "c": 0, "d": 0}

    @pytest.mark.parametrize(
        "properties",
        [
            {"plan": "own"},
            {Name.PLAN: "own"},
            {b"plan": "own"},
            {"plan": "own", "other": Decimal("19.90")},
            type("Row", (dict,), {})(plan="own"),
        ],
    )
    def test_a_name_of_the_call_wins_in_each_of_its_forms(self, properties: Any) -> None:
        with scope(plan="scope"):
            data = EventEncoder("1").encode("u", "done", properties)[1].decode()
        assert data.count('"plan":') == 1
        assert '"plan":"own"' in data

    @pytest.mark.parametrize("properties", [{"in": {"plan": 1}}, {"text": '"plan":'}, {"plans": 1}])
    def test_a_name_deeper_inside_is_another_one(self, properties: dict[str, object]) -> None:
        with scope(plan="scope", other=1):
            assert get_properties(None, properties) == {**properties, "plan": "scope", "other": 1}

    def test_the_digits_of_a_number_stay_beside_a_name_that_wins(self) -> None:
        with scope(price=Decimal("1.50"), other=Decimal("2.50")):
            data = EventEncoder("1").encode("u", "done", {"price": Decimal("19.90")})[1]
        assert b'"properties":{"price":19.90,"other":2.50}' in data

    def test_names_that_cannot_be_arguments_come_in_a_dictionary(self) -> None:
        with scope({"context": 1, "the tenant": 2}, context={"request": 3}):
            sent = encode()
        assert sent["properties"] == {"context": 1, "the tenant": 2}
        assert sent["context"]["request"] == 3

    def test_a_typed_event_gets_them_too_and_a_field_that_is_none_counts_as_not_given(self) -> None:
        with scope(tenant="acme", plan="free", coupon="X"):
            data = EventEncoder("1").encode("u", Upgraded(plan="pro"))[1]
        assert json.loads(data)["properties"] == {"plan": "pro", "tenant": "acme", "coupon": "X"}

    def test_before_send_sees_them(self) -> None:
        seen: list[dict[str, Any]] = []

        def review(event: dict[str, Any]) -> dict[str, Any]:
            seen.append(event["properties"])
            return event

        with scope(tenant="acme"):
            encode(EventEncoder("1", before_send=review))
        assert seen == [{"tenant": "acme"}]

    @given(
        *(st.dictionaries(st.sampled_from('abc"1'), st.integers(), max_size=4) for _ in range(4))
    )
    def test_the_result_is_that_of_merged_dictionaries(
        self, default: Mapping[str, int], outer: Any, inner: Any, own: Any
    ) -> None:
        encoder = EventEncoder("1", default_properties=default)
        with scope(outer), scope(inner):
            assert get_properties(encoder, own) == {**default, **outer, **inner, **own}
            assert get_properties(encoder, {"x": own}) == {
                **default,
                **outer,
                **inner,
                "x": own,
            }


class TestContext:
    @pytest.mark.parametrize("message_id", [None, "m1"])
    def test_a_scope_adds_its_context(self, message_id: str | None) -> None:
        with scope(context={"request": "r1", "app_version": "2"}):
            context = encode(message_id=message_id)["context"]
        message_id = message_id or context["$message_id"]
        assert context == {**SDK, "$message_id": message_id, "request": "r1", "app_version": "2"}

    def test_the_nearest_wins(self) -> None:
        with scope(context={"a": 1, "b": 1}), scope(context={"b": 2, "c": 2}):
            context = encode(None, None, {"c": 3})["context"]
        assert (context["a"], context["b"], context["c"]) == (1, 2, 3)

    def test_it_replaces_neither_the_id_nor_the_test_mode(self) -> None:
        encoder = EventEncoder("1", test_mode=True)
        with scope(context={"$message_id": "x", "$mode": "live"}):
            for given in ((), (None, {"a": 1})):
                context = encode(encoder, *given)["context"]
                assert context["$mode"] == "test"
                assert context["$message_id"] != "x"


class TestWhereItHolds:
    def test_it_ends_with_its_block_also_by_an_exception(self) -> None:
        with pytest.raises(KeyError), scope(a=1):
            raise KeyError
        assert get_properties() == {}

    def test_tasks_see_the_scope_in_which_they_began_and_not_each_others(self) -> None:
        async def work(number: int) -> Any:
            with scope(number=number):
                await asyncio.sleep(0)
                return get_properties()

        async def main() -> list[Any]:
            with scope(tenant="acme"):
                return await asyncio.gather(*map(work, range(3)), asyncio.to_thread(get_properties))

        found = asyncio.run(main())
        assert found == [
            *({"tenant": "acme", "number": number} for number in range(3)),
            {"tenant": "acme"},
        ]

    def test_a_thread_sees_it_in_a_copy_of_the_context(self) -> None:
        found: list[Any] = []
        with scope(tenant="acme"):
            copied = contextvars.copy_context()
        thread = threading.Thread(target=copied.run, args=[lambda: found.append(get_properties())])
        thread.start()
        thread.join()
        assert found == [{"tenant": "acme"}]

    def test_generators_may_end_their_scopes_in_any_order(self) -> None:
        def work(number: int) -> Iterator[None]:
            with scope({str(number): number}):
                yield

        first, second = work(1), work(2)
        next(first)
        next(second)
        assert get_properties() == {"1": 1, "2": 2}
        assert list(first) == []
        assert get_properties() == {"2": 2}
        assert list(second) == []
        assert get_properties() == {}

    def test_a_generator_that_its_loop_closes_ends_its_scope_everywhere(self) -> None:
        async def work() -> AsyncIterator[int]:
            with scope(tenant="acme"):
                yield 1
                yield 2

        async def main() -> list[Any]:
            async for _ in work():
                break
            gc.collect()  # on PyPy; the loop now closes the generator in a task of its own
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            found = [get_properties()]
            with scope(other=1):
                found.append(get_properties())
            return [*found, get_properties()]

        assert asyncio.run(main()) == [{}, {"other": 1}, {}]

    def test_a_scope_that_ends_in_another_context_is_harmless(self) -> None:
        block = scope(tenant="acme")
        contextvars.copy_context().run(block.__enter__)
        with scope(other=1):
            block.__exit__(None, None, None)
            assert get_properties() == {"other": 1}

    def test_one_scope_can_be_entered_again_and_by_several_at_a_time(self) -> None:
        block = scope(tenant="acme")

        async def work() -> Any:
            with block:
                await asyncio.sleep(0)
                return get_properties()

        async def main() -> list[Any]:
            return [*await asyncio.gather(work(), work())]

        assert asyncio.run(main()) == [{"tenant": "acme"}] * 2
        with block, block:
            assert get_properties() == {"tenant": "acme"}
        assert get_properties() == {}

    def test_each_client_adds_its_own_default_properties_in_the_same_scope(self) -> None:
        one = EventEncoder("1", default_properties={"service": "one"})
        two = EventEncoder("1", default_properties={"service": "two"})
        with scope(tenant="acme"):
            for encoder, name in ((one, "one"), (two, "two"), (one, "one")):
                assert get_properties(encoder) == {"service": name, "tenant": "acme"}

    def test_what_is_no_dictionary_is_refused(self) -> None:
        with pytest.raises(TypeError, match=r"scope: properties must be a dict, got str"):
            scope("acme")  # type: ignore[arg-type]  # what is tested
        with pytest.raises(TypeError, match=r"scope: properties is no argument; write scope"):
            scope(properties={"tenant": "acme"})
        with pytest.raises(TypeError, match=r"scope: context must be a dict, got list"):
            scope(context=[])  # type: ignore[arg-type]  # what is tested


class TestAFunction:
    def test_it_is_called_for_each_event(self) -> None:
        numbers = iter(range(10))
        encoder = EventEncoder("1", default_properties=lambda: {"number": next(numbers)})
        assert get_properties(encoder) == {"number": 0}
        with scope(tenant="acme"):
            assert get_properties(encoder) == {"number": 1, "tenant": "acme"}
            assert get_properties(encoder) == {"number": 2, "tenant": "acme"}

    def test_none_means_no_properties(self) -> None:
        assert get_properties(EventEncoder("1", default_properties=lambda: None), {"a": 1}) == {
            "a": 1
        }

    def test_an_event_that_it_tracks_does_not_call_it_again(self) -> None:
        client: Whisperr

        def track() -> dict[str, Any]:
            client.track("u", "looked_up")
            return {"tenant": "acme"}

        client = Whisperr("wrk_test", default_properties=track)
        with capture() as events:
            client.track("u", "done")
        client.shutdown(0)
        assert [(event.type, event.properties) for event in events] == [
            ("looked_up", {}),
            ("done", {"tenant": "acme"}),
        ]


def fail() -> dict[str, Any]:
    raise KeyError("acme")


class Region:
    """A value whose text cannot always be made."""

    fails = False

    def __str__(self) -> str:
        if self.fails:
            raise OSError
        return "eu"


class Broken(UserDict[str, object]):
    """A mapping that cannot be read."""

    def __iter__(self) -> Iterator[str]:
        raise OSError


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
WRONG = [
    ({"default_properties": fail}, {}, "default_properties: raised KeyError"),
    (
        {"default_properties": lambda: ["a"]},
        {},
        "default_properties: must return a dict or None, got list",
    ),
    (
        {"default_properties": lambda: {"a": 1, "bad": CYCLE}},
        {},
        "default_properties.bad[0]: contains itself",
    ),
    ({"default_properties": Broken}, {}, "default_properties: raised OSError"),
    ({}, {"bad": CYCLE}, "scope.bad[0]: contains itself"),
    ({}, {"context": {"bad": CYCLE}}, "scope: context.bad[0]: contains itself"),
]


class TestBadValues:
    @pytest.mark.parametrize(("options", "given", "problem"), WRONG)
    def test_the_event_is_accepted_without_them_and_that_is_reported(
        self, options: dict[str, Any], given: dict[str, Any], problem: str
    ) -> None:
        errors: list[WhisperrError] = []
        client = Whisperr("wrk_test", on_error=errors.append, **options)
        with capture(strict=False) as events, scope(tenant="acme", **given):
            assert client.track("u", "done", {"own": 1})
        client.shutdown(0)
        (event,) = events
        assert {"own": 1, "tenant": "acme"}.items() <= event.properties.items()
        assert "bad" not in {**event.properties, **event.context}
        (error,) = errors
        assert (error.type, error.reason, error.count) == ("incomplete", None, 1)
        assert error.message.startswith(f"track: {problem} (at ")
        assert __file__ in error.message

    @pytest.mark.parametrize(("options", "given", "problem"), WRONG)
    def test_a_strict_client_raises(
        self, options: dict[str, Any], given: dict[str, Any], problem: str
    ) -> None:
        encoder = EventEncoder("1", strict=True, **options)
        with scope(**given), pytest.raises(InvalidEvent) as error:
            encode(encoder)
        assert str(error.value) == problem

    def test_a_value_that_cannot_be_encoded_in_a_child_is_reported_there(self) -> None:
        errors: list[WhisperrError] = []
        region = Region()
        client = Whisperr("wrk_test", default_properties={"region": region}, on_error=errors.append)
        region.fails = True
        with capture(strict=False) as events:  # it makes an encoder of its own, as a child does
            assert client.track("u", "done")
        client.shutdown(0)
        assert events[0].properties == {}
        assert [error.type for error in errors] == ["incomplete"]

    def test_a_dictionary_is_checked_when_the_client_is_made(self) -> None:
        with pytest.raises(ValueError, match=r"default_properties\.bad\[0\]: contains itself"):
            Whisperr("wrk_test", default_properties={"bad": CYCLE})

    def test_a_dictionary_that_changes_later_changes_nothing(self) -> None:
        default = {"region": "eu"}
        client = Whisperr("wrk_test", default_properties=default)
        default["region"] = "us"
        with capture() as events:
            client.track("u", "done")
        client.shutdown(0)
        assert events[0].properties == {"region": "eu"}


def test_a_process_without_scopes_reads_no_context_variable() -> None:
    command = (
        "from whisperr._events.scope import SCOPES\n"
        "from whisperr import Whisperr, scope\n"
        "Whisperr('wrk_1')\nassert not SCOPES.in_use\n"
        "with scope(a=1): assert SCOPES.in_use"
    )
    subprocess.run([sys.executable, "-c", command], check=True, timeout=60)
    assert whisperr.scope is scope
    assert SCOPES.get_current() is None
