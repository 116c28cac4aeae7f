"""The types of billing events and channels are exactly those of the contract."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Union, get_args

import pytest

from whisperr import BillingEvent, Channel, InvalidEvent, billing, channel
from whisperr._contract import CHANNELS, PUSH_FIELDS
from whisperr._events.event import EventEncoder
from whisperr._events.identify import encode_identify
from whisperr._field_types import get_annotations

SHARED = {"plan_id", "price", "currency", "transaction_id", "store"}
EVENTS: dict[str, set[str]] = {
    "trial_started": {"trial_length_days", "trial_ends_at", "plan_period"},
    "trial_converted": {"plan_period", "current_period_ends_at"},
    "trial_auto_renew_disabled": {"trial_ends_at", "store_cancel_reason"},
    "membership_started": {
        "plan_period",
        "is_resubscribe",
        "is_first_ever",
        "access_source",
        "entitlements",
        "current_period_ends_at",
    },
    "renewal_succeeded": {"paid_periods_count", "current_period_ends_at"},
    "auto_renew_disabled": {"access_ends_at", "store_cancel_reason"},
    "auto_renew_enabled": set(),
    "membership_ended": {"end_reason", "plan_period", "paid_periods_count"},
    "billing_issue_started": {"has_access", "grace_ends_at"},
    "billing_recovered": set(),
    "refund_granted": set(),
}


def get_class(event: str) -> Any:
    return getattr(billing, "".join(word.capitalize() for word in event.split("_")))


def get_type(key: str) -> object:
    """Return the type that the contract gives to a property."""
    if key == "entitlements":
        return list[str]
    if key in {"trial_length_days", "paid_periods_count"}:
        return int
    if key.startswith("is_") or key == "has_access":
        return bool
    closed = {
        "store_cancel_reason": billing.StoreCancelReason,
        "end_reason": billing.EndReason,
        "access_source": billing.AccessSource,
    }
    if key.endswith("_at"):
        return datetime | str
    return float | Decimal if key == "price" else closed.get(key, str)


class TestBilling:
    def test_the_names_are_those_of_the_contract(self) -> None:
        names = {name: value for name, value in vars(BillingEvent).items() if name.isupper()}
        assert list(names.values()) == list(EVENTS)
        assert list(names) == [event.upper() for event in EVENTS]

    @pytest.mark.parametrize("event", EVENTS)
    def test_an_event_has_its_own_properties_and_the_shared_ones(self, event: str) -> None:
        one = get_class(event)
        assert set(one._fields) == EVENTS[event] | SHARED
        assert one.event_type == event
        assert one() == one(**dict.fromkeys(one._fields))  # all are optional

    @pytest.mark.parametrize("event", EVENTS)
    def test_a_property_has_the_type_of_the_contract(self, event: str) -> None:
        kind = get_class(event)
        hints = get_annotations(kind)
        assert {key: hints[key] for key in kind._fields} == {
            key: Union[get_type(key), None]  # noqa: UP007  # of objects
            for key in kind._fields
        }

    @pytest.mark.parametrize(
        ("kind", "values"),
        [
            (
                billing.StoreCancelReason,
                [
                    "unsubscribe",
                    "billing_error",
                    "developer_initiated",
                    "price_increase",
                    "customer_support",
                    "unknown",
                ],
            ),
            (
                billing.EndReason,
                [
                    "voluntary",
                    "billing",
                    "price_increase",
                    "product_unavailable",
                    "developer_initiated",
                    "refund",
                    "other",
                ],
            ),
            (
                billing.AccessSource,
                [
                    "self_subscription",
                    "lifetime",
                    "family_share",
                    "promotional",
                    "sponsored",
                    "web_other",
                ],
            ),
        ],
        ids=["store_cancel_reason", "end_reason", "access_source"],
    )
    def test_the_allowed_values_are_complete(self, kind: object, values: list[str]) -> None:
        assert list(get_args(kind)) == values

    def test_a_strict_client_takes_an_event_and_refuses_a_value_that_is_not_in_its_list(
        self,
    ) -> None:
        ended: Any = billing.MembershipEnded
        encoder = EventEncoder("1.0.0", strict=True)
        event = ended(end_reason="billing", price=Decimal("9.90"), currency="EUR")
        data = json.loads(encoder.encode("u", event)[1])
        assert data["event_type"] == "membership_ended"
        assert data["properties"] == {"end_reason": "billing", "price": 9.9, "currency": "EUR"}
        with pytest.raises(InvalidEvent, match=r"MembershipEnded\.end_reason: must be one of"):
            encoder.encode("u", ended(end_reason="bored"))

    @pytest.mark.parametrize("event", EVENTS)
    def test_the_encoder_accepts_every_name(self, event: str) -> None:
        name = getattr(BillingEvent, event.upper())
        _, data = EventEncoder("1.0.0").encode("u", name, {"price": 9.99, "currency": "EUR"})
        assert json.loads(data)["event_type"] == event


PUSH_CHOICES = [(name, value) for name, values in PUSH_FIELDS.items() for value in values]


def sent(given: Any) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(encode_identify("u", channels=[given]))["channels"][0]
    return parsed


class TestChannels:
    @pytest.mark.parametrize("kind", CHANNELS)
    def test_an_address_alone_sends_no_flags(self, kind: str) -> None:
        assert sent(getattr(Channel, kind)("address")) == {"channel": kind, "address": "address"}

    @pytest.mark.parametrize("kind", CHANNELS)
    @pytest.mark.parametrize("flag", ["opted_in", "verified"])
    @pytest.mark.parametrize("value", [True, False])
    def test_a_given_flag_is_sent(self, kind: str, flag: str, value: bool) -> None:
        assert sent(getattr(Channel, kind)("address", **{flag: value})) == {
            "channel": kind,
            "address": "address",
            flag: value,
        }

    @pytest.mark.parametrize(
        ("name", "value"), [*PUSH_CHOICES, ("client_app_id", "app"), ("provider_project", "one")]
    )
    def test_a_push_channel_accepts_every_value_of_the_contract(
        self, name: str, value: str
    ) -> None:
        given: Any = Channel.push("token", **{name: value})  # type: ignore[arg-type]  # names and values from a table
        assert sent(given) == {"channel": "push", "address": "token", name: value}

    def test_the_allowed_values_are_those_of_the_contract(self) -> None:
        assert CHANNELS == ("email", "sms", "push")
        assert PUSH_FIELDS == {
            "kind": ("fcm", "apns", "expo", "onesignal_sub"),
            "platform": ("ios", "android", "web", "macos", "windows", "linux"),
            "push_env": ("production", "sandbox"),
            "client_app_id": (),
            "provider_project": (),
        }

    @pytest.mark.parametrize(
        ("text", "values"),
        [
            ("ChannelName", CHANNELS),
            ("PushKind", PUSH_FIELDS["kind"]),
            ("Platform", PUSH_FIELDS["platform"]),
            ("PushEnvironment", PUSH_FIELDS["push_env"]),
        ],
    )
    def test_the_types_have_the_same_values(self, text: str, values: tuple[str, ...]) -> None:
        source = Path(channel.__file__).read_text(encoding="utf-8")
        listed = ", ".join(f'"{value}"' for value in values)
        assert f"{text} = Literal[{listed}]" in source
