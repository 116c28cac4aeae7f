"""Values of the caller's own classes, even badly behaved ones, and values that become too large."""

from __future__ import annotations

import enum
import json
import tracemalloc
import uuid
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from whisperr import InvalidEvent
from whisperr._events.clock import Clock
from whisperr._events.event import EventEncoder
from whisperr._events.identify import encode_identify
from whisperr._events.to_json import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIE = '19.90", "admin": true, "x": "'
NOW = datetime(2026, 6, 14, 12, tzinfo=timezone.utc)
MEGABYTE = 1024 * 1024


def make_hostile(base: type) -> Any:
    """Return a subclass whose methods all return text that would break JSON."""

    def lie(*_: object, **__: object) -> str:
        return LIE

    kept = {"__new__", "__init__", "__class__", "__getattribute__", "__setattr__", "__delattr__"}
    kept |= {"__init_subclass__", "__subclasshook__", "__doc__", "__slots__"}
    names = [name for name in dir(base) if name not in kept]
    return type(f"Hostile{base.__name__}", (base,), {**dict.fromkeys(names, lie), "__hash__": None})


Int, Float, Text, Bytes, ByteArray, Number, Moment, Day, Hour, Span, Id = map(
    make_hostile,
    (int, float, str, bytes, bytearray, Decimal, datetime, date, time, timedelta, uuid.UUID),
)


def parse_number(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


def make_moment(at: datetime) -> Any:
    fields = (at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond, at.tzinfo)
    return Moment(*fields)


def parse_moment(text: str) -> datetime:
    return datetime.fromisoformat(json.loads(text).replace("Z", "+00:00"))


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ZONES = st.none() | st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m)))
Kind = tuple["st.SearchStrategy[Any]", "Callable[[Any], Any]", "Callable[[str], Any]"]
KINDS: dict[str, Kind] = {
    "int": (st.integers(), Int, json.loads),
    "float": (st.floats(allow_nan=False, allow_infinity=False), Float, json.loads),
    "str": (TEXT, Text, json.loads),
    "bytes": (TEXT.map(str.encode), Bytes, lambda text: json.loads(text).encode()),
    "bytearray": (TEXT.map(str.encode), ByteArray, lambda text: json.loads(text).encode()),
    "Decimal": (st.decimals(allow_nan=False, allow_infinity=False), Number, parse_number),
    "datetime": (st.datetimes(timezones=ZONES), make_moment, parse_moment),
    "date": (
        st.dates(),
        lambda day: Day(day.year, day.month, day.day),
        lambda text: date.fromisoformat(json.loads(text)),
    ),
    "time": (
        st.times(),
        lambda at: Hour(at.hour, at.minute, at.second, at.microsecond),
        lambda text: time.fromisoformat(json.loads(text)),
    ),
    "timedelta": (
        st.integers(-(10**9), 10**9).map(lambda seconds: timedelta(seconds=seconds)),
        lambda span: Span(span.days, span.seconds, span.microseconds),
        lambda text: timedelta(seconds=json.loads(text)),
    ),
}


class TestSubclasses:
    @pytest.mark.parametrize("kind", KINDS)
    @given(data=st.data())
    def test_a_value_of_a_subclass_is_written_as_its_base_type(
        self, kind: str, data: st.DataObject
    ) -> None:
        values, make, parse = KINDS[kind]
        value = data.draw(values)
        text = to_json(make(value), "properties")
        assert parse(text) == value
        assert text == to_json(value, "properties")

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (Number("NaN"), "null"),
            (Number("sNaN"), "null"),
            (Number("Infinity"), "null"),
            (Float("nan"), "null"),
            (Float("-inf"), "null"),
            (Bytes(b"\xff"), '"/w=="'),
        ],
        ids=lambda _: "",
    )
    def test_values_that_json_lacks_are_recognised_by_their_base_type(
        self, value: object, text: str
    ) -> None:
        assert to_json({"a": value}, "properties") == f'{{"a":{text}}}'

    def test_an_amount_that_prints_with_its_currency_is_a_number(self) -> None:
        class Money(Decimal):
            def __str__(self) -> str:
                return f"EUR {Decimal.__str__(self)}"

        assert to_json({"amount": Money("19.90")}, "properties") == '{"amount":19.90}'

    def test_the_text_of_an_object_is_always_a_json_string(self) -> None:
        class Name:
            def __str__(self) -> str:
                text: str = Text(LIE)
                return text

        class Plan(enum.Enum):
            PRO = Text(LIE)

        value = {"id": Id(int=1), "name": Name(), "plan": Plan.PRO}
        assert json.loads(to_json(value, "properties")) == {"id": LIE, "name": LIE, "plan": LIE}

    def test_keys_of_subclasses_are_written_as_their_base_type(self) -> None:
        class Keys(dict[Any, Any]):
            def items(self) -> Any:
                return [(Text("a"), 1), (Int(7), 2), (Float(1.5), 3), (Bytes(b"b"), 4)]

        expected = {"a": 1, "7": 2, "1.5": 3, "b": 4}
        assert json.loads(to_json({"m": Keys(x=1)}, "properties"))["m"] == expected

    def test_a_custom_tzinfo_cannot_break_a_time(self) -> None:
        class Offset(timedelta):
            def total_seconds(self) -> Any:
                return LIE

        class Zone(tzinfo):
            def utcoffset(self, _: datetime | None) -> timedelta:
                return Offset(hours=2)

            dst = tzname = lambda *_: None

        moment = datetime(2026, 6, 14, 14, tzinfo=Zone())
        with pytest.raises(InvalidEvent, match=r"properties\.at: a datetime cannot be read"):
            to_json({"at": moment}, "properties")
        _, data = EventEncoder("9.9.9", clock=make_clock()).encode("u", "e", occurred_at=moment)
        assert json.loads(data)["occurred_at"] == "2026-06-14T12:00:00.000Z"

    def test_a_time_of_a_subclass_is_written_as_a_datetime(self) -> None:
        moment = make_moment(NOW)
        _, data = EventEncoder("9.9.9", clock=make_clock()).encode("u", "e", occurred_at=moment)
        assert json.loads(data)["occurred_at"] == "2026-06-14T12:00:00.000Z"

    def test_a_frozen_clock_changes_no_time(self) -> None:
        with freeze_time(NOW):
            at = datetime.now(timezone.utc)
            one = EventEncoder("9.9.9", clock=make_clock())
            _, data = one.encode("u", "e", {"at": at}, occurred_at=at)
        event = json.loads(data)
        assert event["occurred_at"] == "2026-06-14T12:00:00.000Z"
        assert event["properties"] == {"at": "2026-06-14T12:00:00Z"}

    def test_keys_of_an_event_that_are_str_subclasses_are_written_as_str(self) -> None:
        one = EventEncoder("9.9.9")
        _, data = one.encode(
            Text("user"), Text(" done "), {}, {"locale": Text("de")}, message_id=Text("id")
        )
        event = json.loads(data)
        assert (event["external_user_id"], event["event_type"]) == ("user", "done")
        assert (event["context"]["$message_id"], event["context"]["locale"]) == ("id", "de")

    def test_an_event_type_with_its_own_hash_does_not_confuse_the_cache(self) -> None:
        class Type(str, enum.Enum):
            DONE = "done"

        one = EventEncoder("9.9.9")
        assert b'"event_type":"done"' in one.encode("u", Type.DONE)[1]
        with pytest.raises(InvalidEvent, match=r"event_type: got 'Type\.DONE'"):
            one.encode("u", "Type.DONE")

    def test_an_identify_ignores_a_str_subclass_that_overrides_comparison(self) -> None:
        class Equal(str):
            __slots__ = ()
            __hash__ = str.__hash__

            def __eq__(self, _: object) -> bool:
                return True

        with pytest.raises(InvalidEvent, match="preferred_channel: must be one of"):
            encode_identify("u", preferred_channel=Equal(LIE))
        channel = {"channel": Equal(LIE), "address": "a"}
        with pytest.raises(InvalidEvent, match=r"channels\[0\].channel: must be one of"):
            encode_identify("u", channels=[channel])
        assert json.loads(encode_identify(Text("u"), preferred_channel=Text("sms"))) == {
            "external_user_id": "u",
            "preferred_channel": "sms",
        }


class Proxy:
    """A proxy that claims to be of the class of another object, as lazy objects do."""

    def __init__(self, value: object) -> None:
        self.value = value

    @property  # type: ignore[misc]  # what proxies do
    def __class__(self) -> Any:
        return type(self.value)

    def __str__(self) -> str:
        return str(self.value)


def test_a_proxy_for_a_string_is_that_string_everywhere() -> None:
    _, data = EventEncoder("9.9.9").encode(
        Proxy("user"), Proxy("done"), MappingProxyType({Proxy("a"): Proxy("text")})
    )
    event = json.loads(data)
    assert event["external_user_id"] == "user"
    assert (event["event_type"], event["properties"]) == ("done", {"a": "text"})


def make_clock() -> Clock:
    return Clock(lambda: int(NOW.timestamp()) * 10**9)


def in_dicts(text: str) -> Any:
    names = "abcdefghijklmnop"
    return dict.fromkeys(names, dict.fromkeys(names, [text] * 16))


LARGE = "x" * (2 * MEGABYTE)
WRITTEN_TOO_OFTEN: dict[str, Callable[[], Any]] = {
    "a list": lambda: {"a": [LARGE] * 1_000},
    "a tuple of numbers and texts": lambda: {"a": (1, LARGE) * 500},
    "many members": lambda: dict.fromkeys(map(str, range(1_000)), LARGE),
    "few members": lambda: in_dicts(LARGE),
    "names": lambda: {"a": [{LARGE: 1}] * 60},
    "names of any mapping": lambda: {"a": [MappingProxyType({LARGE: 1})] * 100},
    "a list of short texts": lambda: {"a": ["x" * 100] * 1_000_000},
    "a list of numbers": lambda: {"a": [1] * 12_000_000, "b": [1] * 30_000_000},
    "bytes": lambda: {"a": [LARGE.encode()] * 1_000},
    "numbers with many digits": lambda: {"a": [Decimal("1." + "1" * MEGABYTE)] * 1_000},
    "integers with many digits": lambda: {"a": [10**4_000] * 17_000},
    "numbers and a date": lambda: {"a": [Decimal("1." + "1" * MEGABYTE)] * 1_000, "b": date.min},
    "a list of many texts and a date": lambda: {"a": [LARGE, date.min] * 1_000},
    "a list of ranges": lambda: {"a": [range(90_000)] * 1_000},
    "names of dicts in lists": lambda: {"a": [[{LARGE: 1}]] * 100},
    "texts of an enum": lambda: {"a": [enum.Enum("E", {"A": LARGE}).A] * 1_000},  # type: ignore[attr-defined]  # made here
    "control characters": lambda: {"a": ["\0" * MEGABYTE] * 1_000},
    "one text": lambda: {"a": "x" * (65 * MEGABYTE)},
    "texts of objects": lambda: {"a": [Proxy(LARGE)] * 1_000},
}


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("name", WRITTEN_TOO_OFTEN)
def test_a_value_that_is_written_too_often_is_refused_before_it_takes_much_memory(
    name: str,
) -> None:
    value = WRITTEN_TOO_OFTEN[name]()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    with pytest.raises(InvalidEvent, match="in one event"):
        to_json(value, "properties")
    assert tracemalloc.get_traced_memory()[1] - before < 160 * MEGABYTE


def test_channels_that_are_repeated_too_often_are_refused_before_each_is_copied() -> None:
    channel = {"channel": "email", "address": "ada@example.com"}
    with pytest.raises(InvalidEvent, match="channels: more than 100000 values"):
        encode_identify("u", channels=[channel] * 10_000_000)


@pytest.mark.parametrize("make", [dict, MappingProxyType])
def test_a_large_text_is_accepted(make: Any) -> None:
    text = to_json(make({"a": "x" * (60 * MEGABYTE)}), "properties")
    assert len(text) == 60 * MEGABYTE + len('{"a":""}')
