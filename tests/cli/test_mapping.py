"""`--map` and `--set`: what a column or key becomes, and what is suggested for other names."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from whisperr import InvalidEvent
from whisperr._cli.command import UsageError
from whisperr._cli.hints import guess_options, guess_unit
from whisperr._cli.mapping import FieldMap, ShapeError, to_snake_case

MAPS = ["user_id=external_user_id", "event=event_type", "time=occurred_at"]
COLUMNS = ("user_id", "event", "time")
CELLS = ("u1", "login", "2026-06-14T12:00:00Z")


def apply(cells: dict[str, str], *maps: str, constants: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what a row with these further columns becomes."""
    fields = FieldMap([*MAPS, *maps], constants)
    fields.set_columns([*COLUMNS, *cells])
    return fields.apply(fields.to_object([*CELLS, *cells.values()]))


class TestRows:
    def test_columns_become_what_the_options_say(self) -> None:
        cells = {"amount": "4900", "plan": "pro", "ip": "1.2.3.4", "email": "ada@example.com"}
        maps = ["amount=properties.amount:number", "plan=properties.plan", "ip=context.ip"]
        assert apply(cells, *maps, constants=("properties.source=crm", "properties.n=1")) == {
            "external_user_id": "u1",
            "event_type": "login",
            "occurred_at": "2026-06-14T12:00:00Z",
            "properties": {"source": "crm", "n": 1, "amount": 4900, "plan": "pro"},
            "context": {"ip": "1.2.3.4"},
        }

    def test_columns_with_the_names_of_targets_need_no_option(self) -> None:
        columns = ["external_user_id", "event_type", "occurred_at", "message_id", "properties.n"]
        fields = FieldMap([], [])
        fields.set_columns(columns)
        assert fields.apply(fields.to_object(["u", "a", "t", "m", "1"])) == {
            "external_user_id": "u",
            "event_type": "a",
            "occurred_at": "t",
            "message_id": "m",
            "properties": {"n": "1"},
        }

    def test_other_columns_are_left_out_and_named(self) -> None:
        fields = FieldMap([*MAPS, "secret="], [])
        fields.set_columns([*COLUMNS, "plan", "email", "secret"])
        assert "properties" not in fields.apply(fields.to_object([*CELLS, "pro", "a@b", "x"]))
        assert fields.left_out == ["'plan'", "'email'"]

    @pytest.mark.parametrize(
        ("maps", "record", "group"),
        [
            (MAPS, {"user_id": "u", "event": "a", "time": "t"}, "properties"),
            (MAPS[:1], {"user_id": "u", "type": "identify"}, "traits"),
            (MAPS[:1], {"user_id": "u", "event_type": "a"}, "properties"),
        ],
    )
    def test_what_is_left_out_is_offered_where_it_belongs(
        self, maps: list[str], record: dict[str, str], group: str
    ) -> None:
        fields = FieldMap(maps, [])
        fields.apply(record)
        assert fields.group == group

    def test_a_star_takes_all_others(self) -> None:
        found = apply({"plan": "pro", "": "x", "secret": "x"}, "*=properties.*", "secret=")
        assert found["properties"] == {"plan": "pro"}

    def test_an_empty_cell_is_no_value(self) -> None:
        assert "properties" not in apply({"plan": ""}, "plan=properties.plan:number")

    def test_rows_without_an_event_type_are_identifies(self) -> None:
        fields = FieldMap(["id=external_user_id", "plan=traits.plan", "mail=email"], [])
        fields.set_columns(["id", "plan", "mail"])
        assert fields.apply(fields.to_object(["u", "pro", "ada@example.com"])) == {
            "external_user_id": "u",
            "traits": {"plan": "pro"},
            "email": "ada@example.com",
        }

    @pytest.mark.parametrize(
        ("cells", "text"),
        [
            (["", "login", "t"], "external_user_id: 'user_id' is missing or empty"),
            (["u", "", "t"], "event_type: 'event' is missing or empty"),
            (["u", "login", ""], "occurred_at: 'time' is missing or empty"),
            (["u", "login"], "it has 2 cells, but the header has 3"),
        ],
    )
    def test_a_row_without_what_an_event_needs_is_refused(
        self, cells: list[str], text: str
    ) -> None:
        fields = FieldMap(MAPS, [])
        fields.set_columns(COLUMNS)
        with pytest.raises(InvalidEvent, match=text):
            fields.apply(fields.to_object(cells))


@pytest.mark.parametrize(
    ("option", "text", "expected"),
    [
        ("x=properties.x", "007", "007"),
        ("x=properties.x:number", "19.90", Decimal("19.90")),
        ("x=properties.x:number", " -3 ", -3),
        ("x=properties.x:boolean", "Yes", True),
        ("x=properties.x:boolean", "0", False),
        ("x=properties.x:json", '["a", 1.5]', ["a", Decimal("1.5")]),
    ],
)
def test_a_property_has_the_type_that_is_given(option: str, text: str, expected: object) -> None:
    value = apply({"x": text}, option)["properties"]["x"]
    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("utc", "2026-06-14 12:00:00", "2026-06-14T12:00:00+00:00"),
        ("utc", "2026-06-14 12:00:00.5 UTC", "2026-06-14T12:00:00.500000+00:00"),
        ("utc", "2026-06-14T12:00:00+02:00", "2026-06-14T12:00:00+02:00"),
        ("unix", "1781438400", "2026-06-14T12:00:00+00:00"),
        ("unix", "1781438400.25", "2026-06-14T12:00:00.250000+00:00"),
        ("unix_ms", "1781438400250", "2026-06-14T12:00:00.250000+00:00"),
    ],
)
def test_a_time_has_the_form_that_is_given(kind: str, text: str, expected: str) -> None:
    fields = FieldMap([*MAPS[:2], f"time=occurred_at:{kind}"], [])
    fields.set_columns(COLUMNS)
    assert fields.apply(fields.to_object(["u", "a", text]))["occurred_at"] == expected


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("x=properties.x:number", "ada@example.com"),
        ("x=properties.x:number", "NaN"),
        ("x=properties.x:number", "true"),
        ("x=properties.x:boolean", "maybe"),
        ("x=properties.x:json", "{"),
        ("x=occurred_at:unix", "9" * 30),
        ("x=occurred_at:unix", "1e999999999"),
        ("x=occurred_at:utc", "noon"),
        ("x=event_type:snake_case", "?!"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_and_not_repeated(option: str, text: str) -> None:
    target = option.partition("=")[2].partition(":")[0]
    maps = [one for one in MAPS if not one.endswith(target)]
    fields = FieldMap([*maps, option], [])
    fields.set_columns([*COLUMNS, "x"])
    with pytest.raises(InvalidEvent, match="'x': cannot be read as") as refused:
        fields.apply(fields.to_object([*CELLS, text]))
    assert "example.com" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Payment Failed", "payment_failed"),
        ("paymentFailed", "payment_failed"),
        ("payment_failed", "payment_failed"),
        ("$pageview", "pageview"),
        ("Order Completed (v2)", "order_completed_v2"),
        (" Über-Preis ", "ber_preis"),
    ],
)
def test_a_name_in_words_becomes_snake_case(name: str, expected: str) -> None:
    assert to_snake_case(name) == expected


class TestWrongOptions:
    @pytest.mark.parametrize(
        ("maps", "constants", "text"),
        [
            (["user_id"], [], "write COLUMN=TARGET"),
            (["=event_type"], [], "write COLUMN=TARGET"),
            (["a=user"], [], "'user' is not a target; the targets are external_user_id, "),
            (["a=properties."], [], "is not a target"),
            (["a=properties.x:integer"], [], "no type 'integer'; .* :number, :boolean, :json"),
            (["a=occurred_at:number"], [], ":utc, :unix, :unix_ms"),
            (["*=properties"], [], "write '\\*=properties"),
            (["a=event_type", "b=event_type"], [], "event_type is set by both 'a' and 'b'"),
            (["a=event_type"], ["event_type=x"], "event_type is set by both 'a' and --set"),
            ([], ["event_type"], "write TARGET=VALUE"),
            ([], ["event_type="], "write TARGET=VALUE"),
            ([], ["\x1b=1"], r"'\\x1b' is not a target"),
        ],
    )
    def test_a_wrong_option_says_what_is_right(
        self, maps: list[str], constants: list[str], text: str
    ) -> None:
        with pytest.raises(UsageError, match=text):
            FieldMap(maps, constants)

    @pytest.mark.parametrize(
        ("maps", "columns", "text"),
        [
            (["a=event_type"], ["b"], "there is no column 'a'; the columns are 'b'"),
            (["a=event_type"], ["a", "a"], "there are two columns 'a'"),
            (["*=traits.*"], ["a", "a"], "there are two columns 'a'"),
            ([*MAPS, "x=traits.x"], [*COLUMNS, "x"], "are events, which have no traits"),
            (["a=external_user_id", "b=email", "c=properties.c"], list("abc"), "are identifies"),
        ],
    )
    def test_options_that_do_not_fit_the_columns_say_why(
        self, maps: list[str], columns: list[str], text: str
    ) -> None:
        with pytest.raises(UsageError, match=text):
            FieldMap(maps, []).set_columns(columns)

    @pytest.mark.parametrize(
        ("columns", "options"),
        [
            (
                ["User ID", "event_name", "created_at"],
                [
                    "--map User ID=external_user_id",
                    "--map event_name=event_type",
                    "--map created_at=occurred_at",
                ],
            ),
            (
                ["42", "2026"],
                [
                    "--map COLUMN=external_user_id",
                    "--set event_type=signed_up",
                    "--map COLUMN=occurred_at",
                ],
            ),
        ],
    )
    def test_missing_targets_are_named_with_the_options_that_map_them(
        self, columns: list[str], options: list[str]
    ) -> None:
        with pytest.raises(ShapeError) as found:
            FieldMap([], []).set_columns(columns)
        assert list(found.value.options) == options
        assert "no column is external_user_id and none event_type" in str(found.value)


class TestObjects:
    def test_keys_that_no_option_names_stay_when_they_are_of_the_wire(self) -> None:
        fields = FieldMap(["userId=external_user_id", "context=", "$plan=properties.plan"], [])
        record = {"userId": 7, "properties": {"a": 1}, "context": {"ip": 1}, "$plan": "p", "x": 1}
        assert fields.apply(record) == {
            "external_user_id": 7,
            "properties": {"a": 1, "plan": "p"},
        }
        assert fields.left_out == ["'x'"]

    def test_a_source_may_be_inside_of_an_object(self) -> None:
        fields = FieldMap(["properties.distinct_id=external_user_id"], [])
        record = {"event_type": "a", "properties": {"distinct_id": "u"}}
        assert fields.apply(record)["external_user_id"] == "u"

    def test_a_null_stays_one_whatever_its_type(self) -> None:
        fields = FieldMap(["a=properties.a:number", "e=event_type:snake_case"], [])
        assert fields.apply({"a": None, "e": None}) == {
            "properties": {"a": None},
            "event_type": None,
        }

    def test_a_member_cannot_be_set_in_what_is_no_object(self) -> None:
        fields = FieldMap(["a=properties", "b=properties.x"], [])
        with pytest.raises(InvalidEvent, match="properties: must be an object"):
            fields.apply({"a": "text", "b": 1})


@pytest.mark.parametrize(
    ("record", "options"),
    [
        (
            {
                "type": "track",
                "userId": "u",
                "event": "Order Completed",
                "timestamp": "2026-06-14T12:00:00Z",
                "messageId": "m",
                "context": {},
            },
            [
                "--map userId=external_user_id",
                "--map event=event_type:snake_case",
                "--map timestamp=occurred_at",
                "--map messageId=message_id",
                "--map context=",
            ],
        ),
        (
            {"type": "identify", "userId": "u", "traits": {}, "timestamp": "x"},
            ["--map userId=external_user_id"],
        ),
        (
            {"externalUserId": "u", "eventType": "a", "occurredAt": "2026-06-14 12:00:00"},
            [
                "--map externalUserId=external_user_id",
                "--map eventType=event_type",
                "--map occurredAt=occurred_at:utc",
            ],
        ),
        (
            {"event": "a", "properties": {"distinct_id": "u", "time": 1781438400}},
            [
                "--map properties.distinct_id=external_user_id",
                "--map event=event_type",
                "--map properties.time=occurred_at:unix",
            ],
        ),
        ({"user_id": "u", "event": "a", "ts": 1781438400000}, ...),
        ({"external_user_id": "u", "event": "a"}, []),
        ({"name": "x"}, []),
        ({}, []),
    ],
)
def test_the_names_of_other_tools_are_recognised(record: dict[str, Any], options: Any) -> None:
    if options is ...:
        options = [
            "--map user_id=external_user_id",
            "--map event=event_type",
            "--map ts=occurred_at:unix_ms",
        ]
    assert guess_options(record) == options


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        (1_795_898_980, "unix"),
        ("1795898980", "unix"),
        ("1795898980.5", "unix"),
        (Decimal(1795898980123), "unix_ms"),
        ("1795898980123", "unix_ms"),
        ("20261128", ""),  # a day
        (True, ""),
        (None, ""),
        ("noon", ""),
    ],
)
def test_a_time_that_is_a_number_has_a_unit(value: object, unit: str) -> None:
    assert guess_unit(value) == unit
