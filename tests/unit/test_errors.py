"""The report that `on_error` receives, the exceptions, and the base class of frozen values."""

from __future__ import annotations

import copy
import inspect
import pickle
import sys
import traceback
import weakref
from typing import Any
from unittest.mock import ANY

import pytest

from whisperr import InvalidEvent, Whisperr, WhisperrError
from whisperr._frozen import Frozen
from whisperr.errors import MissingKey

EVENTS = (b'{"event_type":"a","properties":{"n":[1]}}', {"event_type": "b"})
FIELDS: dict[str, Any] = {
    "type": "dropped",
    "message": "HTTP 404",
    "status": 404,
    "reason": "rejected",
    "count": 2,
    "events": EVENTS,
}


def error(**changes: Any) -> WhisperrError:
    return WhisperrError(**{**FIELDS, **changes})


class TestWhisperrError:
    def test_its_fields_are_in_the_documented_order(self) -> None:
        names = ["type", "message", "status", "reason", "count", "events"]
        assert list(inspect.signature(WhisperrError).parameters) == names

    def test_a_type_and_a_message_are_enough(self) -> None:
        one = WhisperrError("auth", "HTTP 401")
        assert (one.status, one.reason, one.count, one.events) == (None, None, 0, ())

    def test_events_are_dictionaries_whatever_was_given(self) -> None:
        assert error().events == (
            {"event_type": "a", "properties": {"n": [1]}},
            {"event_type": "b"},
        )

    def test_changing_the_returned_events_changes_nothing(self) -> None:
        one = error()
        for event in one.events:
            event.clear()
        assert [event["event_type"] for event in one.events] == ["a", "b"]

    def test_events_added_to_the_given_list_later_are_not_included(self) -> None:
        given = [b'{"n":1}']
        one = error(events=given)
        given.append(b'{"n":2}')
        assert one.events == ({"n": 1},)

    def test_str_returns_the_message(self) -> None:
        assert str(error()) == "HTTP 404"

    def test_it_is_a_value_and_not_an_exception(self) -> None:
        assert not isinstance(error(), BaseException)

    def test_its_representation_names_every_field_and_has_no_payload(self) -> None:
        events = [b'{"external_user_id":"ada"}', {"external_user_id": "ada"}]
        assert repr(error(events=events)) == (
            "WhisperrError(type='dropped', message='HTTP 404', status=404, reason='rejected', "
            "count=2, events=<2>)"
        )

    @pytest.mark.parametrize("name", [*FIELDS, "other"])
    def test_no_attribute_can_be_changed_or_deleted(self, name: str) -> None:
        one = error()
        with pytest.raises(AttributeError, match=f"WhisperrError.{name} cannot be changed"):
            setattr(one, name, None)
        with pytest.raises(AttributeError, match=f"WhisperrError.{name} cannot be deleted"):
            delattr(one, name)
        assert one == error()

    def test_equal_fields_make_it_equal(self) -> None:
        decoded = [{"event_type": "a", "properties": {"n": [1]}}, {"event_type": "b"}]
        assert error() == error()
        assert error() == error(events=decoded)

    @pytest.mark.parametrize(
        "change",
        [
            {"type": "auth"},
            {"message": "HTTP 410"},
            {"status": None},
            {"reason": "expired"},
            {"count": 3},
            {"events": ()},
        ],
    )
    def test_any_difference_makes_it_unequal(self, change: dict[str, Any]) -> None:
        assert error() != error(**change)

    @pytest.mark.parametrize("other", [None, "HTTP 404", tuple(FIELDS.values()), FIELDS])
    def test_it_is_not_equal_to_values_of_other_types(self, other: object) -> None:
        assert error() != other

    def test_it_cannot_be_hashed_because_it_holds_dictionaries(self) -> None:
        with pytest.raises(TypeError, match="unhashable"):
            hash(error())

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_it_can_be_pickled(self, protocol: int) -> None:
        again = pickle.loads(pickle.dumps(error(), protocol))
        assert again == error()
        assert isinstance(again, WhisperrError)

    def test_it_can_be_copied(self) -> None:
        assert copy.copy(error()) == error()
        assert copy.deepcopy(error()) == error()


class TestMissingKey:
    def test_a_client_without_a_key_raises_it_under_its_public_name(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("WHISPERR_API_KEY", raising=False)
        with pytest.raises(MissingKey, match="WHISPERR_API_KEY is not set") as caught:
            Whisperr()
        assert isinstance(caught.value, ValueError)
        last = traceback.format_exception_only(caught.value)[-1]
        assert last.startswith("whisperr.errors.MissingKey: api_key: none given")


class TestInvalidEvent:
    def test_it_is_a_value_error(self) -> None:
        with pytest.raises(ValueError, match="properties: must be a dict"):
            raise InvalidEvent("properties: must be a dict")

    def test_it_can_be_pickled(self) -> None:
        again = pickle.loads(pickle.dumps(InvalidEvent("why")))
        assert (type(again), str(again)) == (InvalidEvent, "why")


class Point(Frozen):
    __slots__ = ("x", "y")

    def __init__(self, x: int, y: int) -> None:
        self._set(x=x, y=y)


class Location(Point):
    __slots__ = ()


class TestFrozen:
    def test_repr_has_its_fields(self) -> None:
        assert repr(Point(1, 2)) == "Point(x=1, y=2)"

    def test_it_survives_pickling(self) -> None:
        assert pickle.loads(pickle.dumps(Point(1, 2))) == Point(1, 2)

    def test_it_has_no_attributes_besides_its_fields(self) -> None:
        with pytest.raises(AttributeError, match=r"Point\.z cannot be changed"):
            Point(1, 2).z = 3
        assert not hasattr(Point(1, 2), "__dict__")

    def test_equality_is_symmetric(self) -> None:
        point, location = Point(1, 2), Location(1, 2)
        assert (point == location) is (location == point)

    def test_an_unknown_comparison_is_left_to_the_other_operand(self) -> None:
        assert Point(1, 2) == ANY

    @pytest.mark.skipif(
        sys.implementation.name != "cpython", reason="weakref: costs a field in CPython only"
    )
    def test_it_takes_no_memory_besides_its_fields(self) -> None:
        with pytest.raises(TypeError):
            weakref.ref(Point(1, 2))
