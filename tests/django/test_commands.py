"""`manage.py whisperr_send`, against the local server."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import override_settings

from whisperr.dev import faults

if TYPE_CHECKING:
    from tests.django.site import Site


def command_output(*command: str) -> list[str]:
    out = StringIO()
    call_command(*command, stdout=out, no_color=True)
    return out.getvalue().splitlines()


class TestSend:
    def test_it_sends_one_event_and_says_so(self, site: Site) -> None:
        (line,) = command_output(
            "whisperr_send", "8842", "payment_failed", "amount_cents=4900", "plan=pro", "card=null"
        )
        (arrival,) = site.server.arrivals()
        expected = ("8842", "payment_failed", "accepted")
        assert (arrival.user, arrival.type, arrival.status) == expected
        assert arrival.body["properties"] == {"amount_cents": 4900, "plan": "pro", "card": None}
        assert line == f"delivered, message id {arrival.body['context']['$message_id']}"

    def test_it_reads_values_as_the_command_line_does(self, site: Site) -> None:
        command_output("whisperr_send", "8842", "payment_failed", "price=19.90", "x=NaN")
        assert b'"price":19.90,' in site.server.requests()[0].body  # a float would lose a digit
        assert site.server.arrivals()[0].body["properties"]["x"] == "NaN"

    def test_it_marks_a_test_and_takes_an_id(self, site: Site) -> None:
        command_output("whisperr_send", "8842", "payment_failed", "--test", "--message-id", "evt_1")
        (arrival,) = site.server.arrivals()
        assert arrival.body["context"]["$mode"] == "test"
        assert arrival.body["context"]["$message_id"] == "evt_1"

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (["8842", "Payment Failed"], "event_type: got 'Payment Failed'"),
            ([" ", "payment_failed"], "external_user_id: must not be empty"),
            (["8842", "payment_failed", "plan"], "'plan': write key=value"),
        ],
    )
    def test_it_says_what_is_wrong_with_the_call(
        self, site: Site, arguments: list[str], text: str
    ) -> None:
        with pytest.raises(CommandError) as raised:
            command_output("whisperr_send", *arguments)
        assert str(raised.value).startswith(text)
        assert site.server.arrivals() == []

    def test_it_fails_when_the_event_is_not_delivered(self, site: Site) -> None:
        site.server.set_faults(faults.wrong_key())
        with pytest.raises(CommandError, match="not delivered: HTTP 401"):
            command_output("whisperr_send", "8842", "payment_failed")

    def test_it_fails_when_nothing_can_be_sent(self, site: Site) -> None:
        with (
            override_settings(WHISPERR_DISABLED=True),
            pytest.raises(CommandError, match="not sent: whisperr is disabled"),
        ):
            command_output("whisperr_send", "8842", "payment_failed")
        with (
            override_settings(WHISPERR_API_KEY=""),
            pytest.raises(CommandError, match="WHISPERR_API_KEY: is empty"),
        ):
            command_output("whisperr_send", "8842", "payment_failed")
