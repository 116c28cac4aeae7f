"""The contents of an event, and the errors for refused arguments."""

from __future__ import annotations

import enum
import json
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from whisperr import InvalidEvent
from whisperr._events.clock import Clock
from whisperr._events.event import EventEncoder, Vetoed, parse_identifier

NOW = datetime(2026, 6, 14, 12, 0, 0, 999_999, tzinfo=timezone.utc)
NOW_NS = int(NOW.timestamp()) * 10**9 + 999_999_999


def encoder(**options: Any) -> EventEncoder:
    return EventEncoder("9.9.9", clock=Clock(lambda: NOW_NS), **options)


def event(*args: Any, options: dict[str, Any] | None = None, **kwargs: Any) -> dict[str, Any]:
    _, data = encoder(**options or {}).encode(*args, **kwargs)
    parsed: dict[str, Any] = json.loads(data)
    return parsed


class TestEvent:
    def test_it_has_exactly_the_five_keys_of_the_contract(self) -> None:
        chosen, data = encoder().encode("u", "trial_started")
        assert json.loads(data) == {
            "external_user_id": "u",
            "event_type": "trial_started",
            "occurred_at": "2026-06-14T12:00:00.999Z",
            "properties": {},
            "context": {
                "$message_id": chosen,
                "sdk_name": "whisperr-python",
                "sdk_version": "9.9.9",
            },
        }

    def test_the_current_time_is_truncated_to_the_millisecond(self) -> None:
        assert event("u", "e")["occurred_at"] == "2026-06-14T12:00:00.999Z"

    def test_a_later_event_has_a_later_time(self) -> None:
        moments = iter([NOW_NS, NOW_NS + 1_000_000, NOW_NS + 61 * 10**9])
        clock = Clock(lambda: next(moments))
        assert [clock.format_now() for _ in range(3)] == [
            "2026-06-14T12:00:00.999Z",
            "2026-06-14T12:00:01.000Z",
            "2026-06-14T12:01:01.999Z",
        ]

    def test_a_given_time_is_converted_to_utc_and_truncated(self) -> None:
        zone = timezone(timedelta(hours=2))
        moment = datetime(2026, 6, 14, 13, 0, 0, 1_999, tzinfo=zone)
        assert event("u", "e", occurred_at=moment)["occurred_at"] == "2026-06-14T11:00:00.001Z"

    @pytest.mark.parametrize(
        ("moment", "problem"),
        [
            (NOW.replace(tzinfo=None), "naive"),
            ("2026-06-14", "got str"),
            (NOW - timedelta(days=31), "30 days ago"),
            (NOW + timedelta(days=2), "5 minutes ahead"),
            (datetime.max.replace(tzinfo=timezone(-timedelta(hours=5))), "not a time in UTC"),
        ],
    )
    def test_a_time_that_the_server_would_refuse_is_refused(
        self, moment: object, problem: str
    ) -> None:
        with pytest.raises(InvalidEvent, match=f"occurred_at.*{problem}"):
            event("u", "e", occurred_at=moment)

    def test_a_given_message_id_is_kept_and_returned(self) -> None:
        chosen, data = encoder().encode("u", "e", message_id='evt_"1')
        assert chosen == 'evt_"1'
        assert json.loads(data)["context"]["$message_id"] == 'evt_"1'

    def test_a_given_context_is_merged_and_cannot_replace_the_message_id(self) -> None:
        given = {"$message_id": "mine", "sdk_name": "other", "locale": "de", "app_version": "2"}
        options = {"app_version": " 1.0 "}
        chosen, data = encoder(**options).encode("u", "e", context=given)
        assert json.loads(data)["context"] == {
            "$message_id": chosen,
            "sdk_name": "other",
            "sdk_version": "9.9.9",
            "locale": "de",
            "app_version": "2",
        }

    @pytest.mark.parametrize(("given", "sent"), [(" 1.0 ", "1.0"), ("", None), (" ", None)])
    def test_app_version_is_trimmed_and_left_out_when_blank(
        self, given: str, sent: str | None
    ) -> None:
        assert event("u", "e", options={"app_version": given})["context"].get("app_version") == sent

    def test_test_mode_marks_every_event_and_a_context_cannot_remove_the_mark(self) -> None:
        options = {"test_mode": True}
        assert event("u", "e", options=options)["context"]["$mode"] == "test"
        assert (
            event("u", "e", None, {"$mode": "live"}, options=options)["context"]["$mode"] == "test"
        )

    def test_the_event_type_is_trimmed(self) -> None:
        assert event("u", " payment_failed\n")["event_type"] == "payment_failed"

    @pytest.mark.parametrize(
        "name", ["", "Payment", "a__b", "_a", "a_", "a-b", "a b", "ä", "a\n_b", None, 5, "٣"]
    )
    def test_an_event_type_that_is_not_snake_case_is_refused(self, name: object) -> None:
        with pytest.raises(InvalidEvent, match="event_type"):
            event("u", name)

    def test_the_error_does_not_repeat_an_address_given_as_event_type(self) -> None:
        with pytest.raises(InvalidEvent) as caught:
            event("payment_failed", "ada@example.com")
        assert "ada" not in str(caught.value)

    def test_the_number_of_cached_event_types_is_bounded(self) -> None:
        one = encoder()
        for number in range(2_100):
            one.encode("u", f"type_{number}")
        assert len(one._types) <= 1_000

    @pytest.mark.parametrize("value", [[], "text", 5, [("a", 1)]])
    def test_properties_that_are_not_a_dict_are_refused(self, value: object) -> None:
        with pytest.raises(InvalidEvent, match="properties: must be a dict"):
            event("u", "e", value)

    def test_a_copy_of_the_machine_that_resumes_later_makes_other_ids(self) -> None:
        seconds = iter([10, 10, 11, 11])
        one = EventEncoder("9.9.9")
        one._clock._now = lambda: next(seconds) * 10**9
        bits = [one.encode("u", "e")[0][:16] for _ in range(4)]
        assert bits[0] == bits[1] != bits[2] == bits[3]


class Colour(enum.Enum):
    RED = "red"


class TestIdentifier:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("u", "u"),
            (42, "42"),
            (uuid.UUID(int=3), "00000000-0000-0000-0000-000000000003"),
            (Colour.RED, "red"),
            (" padded ", " padded "),
        ],
    )
    def test_an_id_becomes_a_string(self, value: object, text: str) -> None:
        assert parse_identifier(value, "external_user_id") == text

    @pytest.mark.parametrize("value", [None, "", "  \t", True, 1.5, b"u", {}, [], object(), (1, 2)])
    def test_a_value_that_identifies_no_user_is_refused(self, value: object) -> None:
        with pytest.raises(InvalidEvent, match="external_user_id"):
            parse_identifier(value, "external_user_id")

    def test_the_error_for_a_model_instance_tells_what_to_pass(self) -> None:
        class User:
            pk = 5

            def __str__(self) -> str:
                return "ada"

        with pytest.raises(InvalidEvent, match=r"User object; pass its key, such as user\.pk"):
            parse_identifier(User(), "external_user_id")

    def test_the_error_for_an_object_that_raises_has_its_type_only(self) -> None:
        class Odd:
            def __str__(self) -> str:
                raise KeyError("inner")

        with pytest.raises(InvalidEvent, match=r"Odd cannot be read \(KeyError\)"):
            parse_identifier(Odd(), "message_id")


class TestBeforeSend:
    def test_it_may_change_an_event_but_not_its_message_id(self) -> None:
        def anonymise(given: dict[str, Any]) -> dict[str, Any]:
            given["properties"].pop("email")
            given["context"] = {}
            given["external_user_id"] = 7
            return given

        one = encoder(before_send=anonymise)
        chosen, data = one.encode("u", "e", {"email": "x", "kept": 1})
        parsed = json.loads(data)
        assert parsed["properties"] == {"kept": 1}
        assert parsed["external_user_id"] == "7"
        assert parsed["context"] == {"$message_id": chosen}

    def test_none_vetoes_the_event(self) -> None:
        with pytest.raises(Vetoed):
            encoder(before_send=lambda _: None).encode("u", "e")

    @pytest.mark.parametrize(
        ("result", "problem"),
        [
            (5, "must return None or a dict"),
            ({"event_type": "e"}, "exactly"),
        ],
    )
    def test_a_wrong_result_is_refused(self, result: Any, problem: str) -> None:
        with pytest.raises(InvalidEvent, match=problem):
            encoder(before_send=lambda _: result).encode("u", "e")

    def test_changing_the_time_is_refused(self) -> None:
        with pytest.raises(InvalidEvent, match="occurred_at cannot be changed"):
            encoder(before_send=lambda e: {**e, "occurred_at": "now"}).encode("u", "e")

    def test_an_exception_drops_the_event_and_its_text_is_not_reported(self) -> None:
        def fail(_: object) -> None:
            raise KeyError("ada@example.com")

        with pytest.raises(InvalidEvent, match="before_send: raised KeyError") as caught:
            encoder(before_send=fail).encode("u", "e")
        assert "ada" not in str(caught.value)
