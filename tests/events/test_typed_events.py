"""Typed events: what their classes are, what is sent, and what strict clients check."""

from __future__ import annotations

import copy
import json
import pickle
import sys
import typing
from collections.abc import Hashable, ItemsView, Iterable, KeysView, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timezone
from decimal import Decimal
from enum import Enum
from numbers import Number
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    TypeVar,
)

import pytest
import typing_extensions

import whisperr
from whisperr import Event, InvalidEvent
from whisperr._events.event import EventEncoder
from whisperr._field_types import check_types
from whisperr.events import to_event_type

if sys.version_info >= (3, 11):
    from typing import NotRequired, Required, TypedDict, TypeVarTuple, Unpack
else:
    from typing_extensions import NotRequired, Required, TypedDict, TypeVarTuple, Unpack

T = TypeVar("T")
Kind = TypeVar("Kind")


class PlanUpgraded(Event):
    plan: Literal["free", "pro", "team"]
    seats: int
    coupon: str | None = None


class Shared(Event, abstract=True):
    plan: str


class Paused(Shared, event_type="membership_paused"):
    """A member pauses."""

    reasons: list[str] = field(default_factory=list)
    source: ClassVar[str] = "web"


class Moved(Event, Generic[T]):
    before: T
    after: list[T]


class SeatsMoved(Moved[int]):
    pass


class PlanMoved(Moved[Kind], Generic[Kind], abstract=True):
    pass


class TextMoved(PlanMoved[str]):
    pass


class Contact(TypedDict):
    name: str
    phone: NotRequired[str]
    draft: Annotated[Required[bool], "said by the user"]


class Described(Event):
    contact: Contact


def encode(event: object, *given: object, strict: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        EventEncoder("1", strict=strict).encode("u", event, *given)[1]
    )
    return found


class TestTheClass:
    @pytest.mark.parametrize(
        ("class_name", "event_type"),
        [
            ("PlanUpgraded", "plan_upgraded"),
            ("Upgraded", "upgraded"),
            ("HTTPFailed", "http_failed"),
            ("UserHTTPFailed", "user_http_failed"),
            ("Plan2Upgraded", "plan2_upgraded"),
            ("Used3D", "used3_d"),
            ("OAuthRevoked", "o_auth_revoked"),
        ],
    )
    def test_its_name_in_snake_case_is_the_event_type(
        self, class_name: str, event_type: str
    ) -> None:
        assert to_event_type(class_name) == event_type
        assert type(class_name, (Event,), {}).event_type == event_type  # type: ignore[attr-defined]  # made here

    def test_it_can_have_another_event_type(self) -> None:
        assert Paused.event_type == "membership_paused"
        assert encode(Paused(plan="pro"))["event_type"] == "membership_paused"

    def test_a_missing_field_fails_where_the_event_is_made(self) -> None:
        with pytest.raises(TypeError, match="seats"):
            PlanUpgraded(plan="pro")  # type: ignore[call-arg]  # what is tested

    def test_an_unknown_field_fails_where_the_event_is_made(self) -> None:
        with pytest.raises(TypeError, match="seat'"):
            PlanUpgraded(plan="pro", seats=9, seat=9)  # type: ignore[call-arg]  # what is tested

    def test_arguments_are_keywords(self) -> None:
        with pytest.raises(TypeError, match="positional"):
            PlanUpgraded("pro", 9)  # type: ignore[call-arg]  # what is tested

    def test_an_event_cannot_be_changed(self) -> None:
        event = PlanUpgraded(plan="pro", seats=9)
        with pytest.raises(AttributeError):
            event.seats = 10  # type: ignore[misc]  # what is tested

    def test_an_abstract_class_cannot_be_instantiated(self) -> None:
        with pytest.raises(TypeError, match="Shared is abstract"):
            Shared(plan="pro")
        with pytest.raises(TypeError, match="Event is abstract"):
            Event()
        derived = type("Derived", (PlanUpgraded,), {}, abstract=True)
        with pytest.raises(TypeError, match="Derived is abstract"):
            derived(plan="pro", seats=9)

    @pytest.mark.parametrize("name", ["event_type", "_plan"])
    def test_a_field_that_would_hide_something_is_refused(self, name: str) -> None:
        with pytest.raises(TypeError, match=rf"Upgraded\.{name}: a field cannot have this name"):
            type("Upgraded", (Event,), {"__annotations__": {name: str}})

    def test_an_event_type_in_the_body_is_refused(self) -> None:
        fix = r"write class Upgraded\(Event, event_type=.plan_upgraded.\)"
        with pytest.raises(TypeError, match=fix):
            type("Upgraded", (Event,), {"event_type": "plan_upgraded"})

    @pytest.mark.parametrize("event_type", ["Plan Upgraded", "plan__upgraded", "plän", "_plan"])
    def test_a_wrong_event_type_is_refused(self, event_type: str) -> None:
        with pytest.raises(TypeError, match="must be lowercase snake case"):
            type("Upgraded", (Event,), {}, event_type=event_type)

    def test_a_class_name_that_is_no_event_type_needs_one(self) -> None:
        with pytest.raises(TypeError, match="class Plan_Üpgraded"):
            type("Plan_Üpgraded", (Event,), {})

    def test_events_are_equal_copied_and_pickled_by_their_fields(self) -> None:
        event = PlanUpgraded(plan="pro", seats=9)
        assert event == PlanUpgraded(plan="pro", seats=9) != PlanUpgraded(plan="pro", seats=8)
        assert pickle.loads(pickle.dumps(event)) == copy.deepcopy(event) == event
        assert hash(event) == hash(copy.copy(event))
        assert repr(event) == "PlanUpgraded(plan='pro', seats=9, coupon=None)"

    def test_a_field_can_be_matched_and_replaced(self) -> None:
        event = replace(PlanUpgraded(plan="pro", seats=9), seats=10)
        match event:
            case PlanUpgraded(plan="pro", seats=seats):
                assert seats == 10
            case _:
                pytest.fail("it does not match")
        with pytest.raises(TypeError, match="seat"):
            replace(event, seat=10)  # type: ignore[call-arg]  # what is tested

    def test_a_subclass_of_an_event_is_another_event(self) -> None:
        class TeamUpgraded(PlanUpgraded):
            team: str

        event = TeamUpgraded(plan="team", seats=9, team="blue")
        assert encode(event)["event_type"] == "team_upgraded"
        assert encode(event)["properties"] == {"plan": "team", "seats": 9, "team": "blue"}
        assert event != PlanUpgraded(plan="team", seats=9)

    def test_its_docstring_is_what_its_author_wrote(self) -> None:
        assert PlanUpgraded.__doc__ is None
        assert Paused.__doc__ == "A member pauses."

    def test_each_event_gets_a_default_of_its_own_from_a_factory(self) -> None:
        first, second = Paused(plan="pro"), Paused(plan="pro")
        assert first.reasons == second.reasons
        assert first.reasons is not second.reasons

    def test_a_generic_event_can_be_made_with_its_type(self) -> None:
        event = Moved[int](before=1, after=[2])
        assert encode(event)["properties"] == {"before": 1, "after": [2]}

    def test_the_class_is_loaded_when_it_is_first_used(self) -> None:
        assert whisperr.Event is Event


class TestWhatIsSent:
    def test_the_fields_are_the_properties(self) -> None:
        sent = encode(PlanUpgraded(plan="pro", seats=9, coupon="SPRING"))
        assert sent["event_type"] == "plan_upgraded"
        assert sent["properties"] == {"plan": "pro", "seats": 9, "coupon": "SPRING"}

    def test_a_field_that_is_none_is_not_sent(self) -> None:
        assert encode(PlanUpgraded(plan="pro", seats=9))["properties"] == {
            "plan": "pro",
            "seats": 9,
        }

    def test_a_field_without_a_value_counts_as_none(self) -> None:
        event = PlanUpgraded(plan="pro", seats=9)
        vars(event).pop("seats")  # as in an event that an older version has pickled
        assert encode(event, strict=False)["properties"] == {"plan": "pro"}
        with pytest.raises(InvalidEvent, match=r"PlanUpgraded\.seats: must be int, got NoneType"):
            encode(event)

    def test_a_class_variable_is_not_sent(self) -> None:
        assert encode(Paused(plan="pro"))["properties"] == {"plan": "pro", "reasons": []}

    def test_properties_beside_the_event_are_refused(self) -> None:
        with pytest.raises(
            InvalidEvent, match="must be left out, because PlanUpgraded has its own"
        ):
            encode(PlanUpgraded(plan="pro", seats=9), {"seats": 10})

    def test_the_class_in_place_of_an_event_is_refused(self) -> None:
        with pytest.raises(InvalidEvent, match="event_type: must be a string"):
            encode(PlanUpgraded)

    def test_before_send_sees_an_event_as_any_other(self) -> None:
        seen: list[dict[str, Any]] = []
        encoder = EventEncoder("1", before_send=lambda event: seen.append(event) or event)  # type: ignore[func-returns-value]  # None, so that it is returned
        encoder.encode("u", PlanUpgraded(plan="pro", seats=9))
        assert seen[0]["event_type"] == "plan_upgraded"
        assert seen[0]["properties"] == {"plan": "pro", "seats": 9}


Seats = NewType("Seats", int)
SEQUENCE = "collections.abc.Sequence"
NOT_FINITE = "must be finite, because JSON has no NaN and no infinity"


class Size(Enum):
    SMALL = "s"


class Address(TypedDict, total=False):
    city: str


@dataclass
class Price:
    amount: Decimal
    currency: str = "EUR"


class Point(NamedTuple):
    x: int
    y: float


class Box(TypedDict, Generic[T]):
    content: list[T]
    label: NotRequired[str]


class Tagged(list[str], Generic[T]):
    """A list of strings, although its argument is another type."""


class Old(typing_extensions.TypedDict):
    city: str


class Odd(type):
    def __instancecheck__(cls, instance: object) -> bool:
        raise RuntimeError("cannot be checked")


class Unclear(metaclass=Odd):
    pass


class Broken(TypedDict):
    city: Unresolved  # type: ignore[name-defined]  # noqa: F821  # what is tested


Several = TypeVarTuple("Several")


class Row(Event, Generic[Unpack[Several]], abstract=True):
    cells: tuple[Unpack[Several]]


class TwoCells(Row[int, str]):
    pass


@dataclass
class Tree:
    left: Tree | None = None
    right: Tree | None = None


class Planted(Event):
    tree: Tree


def find_problem(event: Event) -> str | None:
    try:
        check_types(event)
    except InvalidEvent as error:
        return str(error)
    return None


def check(annotation: object, value: object) -> str | None:
    kind = type("Used", (Event,), {"__annotations__": {"value": annotation}})
    problem = find_problem(kind(value=value))
    return None if problem is None else problem.removeprefix("Used.")


class TestStrict:
    @pytest.mark.parametrize(
        ("annotation", "value"),
        [
            (int, 9),
            (float, 9),
            (float, 9.5),
            (str, "pro"),
            (str, type("Text", (str,), {})("pro")),
            (bool, True),
            (object, b""),
            (Any, object()),
            (None, None),
            (str | None, None),
            (int | str, "pro"),
            (Literal["pro", 1], 1),
            (Annotated[int, "whole"], 9),
            (Seats, 9),
            (Size, Size.SMALL),
            (Decimal, Decimal("19.90")),
            (datetime, datetime(2026, 1, 1, tzinfo=timezone.utc)),
            (list[int], [1, 2]),
            (Sequence[int], (1, 2)),
            (Iterable[int], iter([1])),
            (tuple[int, str], (1, "a")),
            (tuple[int, ...], (1, 2, 3)),
            (dict[str, int], {"a": 1}),
            (Mapping[str, list[int]], {"a": [1]}),
            (Address, {"city": "Ulm"}),
            (Address, {}),
            (list[int] | None, [1]),
            (list, [1]),
            (Hashable, True),
            (Number, True),
            (ItemsView[str, int], {"a": 1}.items()),
            (KeysView[str], {"a": 1}.keys()),
            (tuple[()], ()),
            (tuple, (1, "a")),
            (typing.Tuple, (1, "a")),  # noqa: UP006  # what is tested
            (tuple[Unpack[Several]], (1, "a")),  # type: ignore[valid-type]  # what is tested
            (dict[str, Box[int]], {"a": {"content": [1]}}),
            (Tagged[int], Tagged(["a"])),
            (Old, {"city": "Ulm"}),
            (date, date(2026, 1, 1)),
            (date | datetime, datetime(2026, 1, 1, tzinfo=timezone.utc)),
            (Any, float("nan")),
            (Price, Price(Decimal(9))),
            (Point, Point(1, 2)),
            (Unclear, 1),  # what cannot be checked is accepted
            (list[Unclear], [1]),
            (Broken, {"city": 1}),
        ],
    )
    def test_a_right_value_is_accepted(self, annotation: object, value: object) -> None:
        assert check(annotation, value) is None

    @pytest.mark.parametrize(
        ("annotation", "value", "problem"),
        [
            (int, "9", "value: must be int, got str"),
            (int, True, "value: must be int, got bool"),
            (float, "9", "value: must be float, got str"),
            (str, None, "value: must be str, got NoneType"),
            (str | None, 9, "value: must be str, got int"),
            (int | str, 9.5, "value: must be int | str, got float"),
            (
                Literal["pro", "team"],
                "basic",
                "value: must be one of 'pro', 'team', got another value",
            ),
            (Literal[1], True, "value: must be one of 1, got another value"),
            (Annotated[int, "whole"], "9", "value: must be int, got str"),
            (Seats, "9", "value: must be int, got str"),
            (Size, "s", "value: must be Size, got str"),
            (list[int], [1, "2"], "value[1]: must be int, got str"),
            (list[int], "12", "value: must be list[int], got str"),
            (Sequence[str], "12", f"value: must be {SEQUENCE}[str], got str"),
            (Iterable[int], b"12", "value: must be collections.abc.Iterable[int], got bytes"),
            (list[int] | None, ["1"], "value[0]: must be int, got str"),
            (tuple[int, str], (1, 2), "value[1]: must be str, got int"),
            (tuple[int, str], (1,), "value: must have 2 items, got 1"),
            (dict[str, int], {"a": "1"}, "value: a value: must be int, got str"),
            (dict[str, int], {1: 1}, "value: a key: must be str, got int"),
            (Address, {"city": 9}, "value.city: must be str, got int"),
            (Address, [], "value: must be Address, got list"),
            (Address, {"town": "Ulm"}, "value: has keys that Address has not"),
            (Old, {"town": "Ulm"}, "value: has keys that Old has not"),
            (Box[int], {"content": ["1"]}, "value.content[0]: must be int, got str"),
            (Box[int], {}, "value.content: is missing"),
            (Sequence, "12", "value: must be Sequence, got str"),
            (Sequence[int], bytearray(b"12"), f"value: must be {SEQUENCE}[int], got bytearray"),
            (date, datetime(2026, 1, 1, tzinfo=timezone.utc), "value: must be date, got datetime"),
            (float, float("nan"), f"value: {NOT_FINITE}"),
            (float | None, float("inf"), f"value: {NOT_FINITE}"),
            (list[Decimal], [Decimal("NaN")], f"value[0]: {NOT_FINITE}"),
            (ItemsView[str, int], {"a": "b"}.items(), "value[0][1]: must be int, got str"),
            (tuple[()], (1,), "value: must have 0 items, got 1"),
            (Price, Price("9"), "value.amount: must be Decimal, got str"),  # type: ignore[arg-type]  # what is tested
            (Point, Point("1", 2), "value.x: must be int, got str"),  # type: ignore[arg-type]  # what is tested
        ],
    )
    def test_a_wrong_value_is_named_without_itself(
        self, annotation: object, value: object, problem: str
    ) -> None:
        assert check(annotation, value) == problem

    def test_a_strict_client_refuses_a_wrong_value(self) -> None:
        event = PlanUpgraded(plan="basic", seats=9)  # type: ignore[arg-type]  # what is tested
        with pytest.raises(InvalidEvent, match=r"PlanUpgraded\.plan: must be one of 'free', 'pro'"):
            encode(event)

    @pytest.mark.parametrize(
        ("event", "problem"),
        [
            (SeatsMoved(before=1, after=[2]), None),
            (SeatsMoved(before="1", after=[2]), "SeatsMoved.before: must be int, got str"),  # type: ignore[arg-type]  # what is tested
            (SeatsMoved(before=1, after=["2"]), "SeatsMoved.after[0]: must be int, got str"),  # type: ignore[list-item]  # what is tested
            (TextMoved(before="a", after=["b"]), None),
            (TextMoved(before="a", after=[1]), "TextMoved.after[0]: must be str, got int"),  # type: ignore[list-item]  # what is tested
            (TwoCells(cells=(1, "a")), None),
            (Moved[Any](before=1, after=["2"]), None),  # what the variable stands for is not known
        ],
    )
    def test_a_type_variable_of_a_base_is_what_the_class_says(
        self, event: Event, problem: str | None
    ) -> None:
        assert find_problem(event) == problem

    @pytest.mark.parametrize(
        ("contact", "problem"),
        [
            ({"name": "Ada", "draft": True}, None),
            ({"name": "Ada", "draft": True, "phone": "1"}, None),
            ({"name": "Ada", "draft": True, "phone": 1}, "contact.phone: must be str, got int"),
            ({"draft": True}, "contact.name: is missing"),
            ({"name": "Ada"}, "contact.draft: is missing"),
        ],
    )
    def test_a_key_is_required_as_the_annotation_says_also_if_that_is_a_string(
        self, contact: Any, problem: str | None
    ) -> None:
        expected = None if problem is None else f"Described.{problem}"
        assert find_problem(Described(contact=contact)) == expected

    def test_a_value_that_contains_itself_is_left_to_the_encoder(self) -> None:
        tree = Tree()
        tree.left = tree.right = tree
        with pytest.raises(InvalidEvent, match=r"tree\.left: contains itself"):
            encode(Planted(tree=tree))

    def test_any_other_client_sends_the_event_as_it_is(self) -> None:
        event = PlanUpgraded(plan="basic", seats="9")  # type: ignore[arg-type]  # what is tested
        assert encode(event, strict=False)["properties"] == {"plan": "basic", "seats": "9"}

    def test_a_name_that_cannot_be_resolved_is_reported_by_a_strict_client_only(self) -> None:
        kind = type("Used", (Event,), {"__annotations__": {"value": "Unknown"}})
        assert encode(kind(value=1), strict=False)["properties"] == {"value": 1}
        with pytest.raises(InvalidEvent, match="Used: its annotations cannot be read"):
            encode(kind(value=1))

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are read at once before")
    def test_the_same_holds_for_annotations_that_python_reads_later(self) -> None:
        names: dict[str, Any] = {"Event": Event, "__name__": __name__}
        text = "class Used(Event):\n    value: Unknown\n"
        exec(compile(text, "used.py", "exec", dont_inherit=True), names)
        used = names["Used"](value=1)
        assert encode(used, strict=False)["properties"] == {"value": 1}
        with pytest.raises(InvalidEvent, match="name 'Unknown' is not defined"):
            encode(used)
