"""A refusal names this machine's clock if it is wrong, and only then."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from tests.delivery.rig import Rig
from whisperr._contract import Answer
from whisperr._delivery.skew import describe_skew, parse_date

NOON = 1_781_438_400.0  # 2026-06-14T12:00:00Z
DAY = 86_400.0


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Sun, 14 Jun 2026 12:00:00 GMT", NOON),
        ("Sun, 14 Jun 2026 12:00:59 GMT", NOON + 59),
        (None, None),
        ("", None),
        ("soon", None),
        ("Mon, 14 Jun 2026 12:00:00 GMT", None),  # it was a Sunday
        ("Sun, 14 Jun 2026 12:00:60 GMT", None),
        ("Sun, 14 Jun 2026 24:00:00 GMT", None),
        ("Sun, 31 Jun 2026 12:00:00 GMT", None),
        ("Sun, 14 Jun 2026 12:00:00 UTC", None),
        ("Sun, 14 Jun 2026 12:00:00 +00", None),
        ("Sun, 14 jun 2026 12:00:00 GMT", None),
        ("Sun, 14 Jun +026 12:00:00 GMT", None),
        ("Sun, 14 Jun ٢٠٢٦ 12:00:00 GMT", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None),  # a server without a clock
        ("Fri, 31 Dec 9999 23:59:59 GMT", None),
        ("Sunday, 14-Jun-26 12:00:00 GMT", None),
        ("Sun Jun 14 12:00:00 2026", None),
        ("Sun, 14 Jun 2026 12:00:00 GMT" + " " * 100_000, None),
        (" " * 29, None),
        (":" * 29, None),
    ],
)
def test_only_a_plain_date_is_read(text: str | None, moment: float | None) -> None:
    assert parse_date(text) == moment


@pytest.mark.parametrize(
    ("ahead", "text"),
    [
        (0.0, None),
        (299.0, None),
        (300.0, None),
        (301.0, "5 minutes ahead of"),
        (3 * 3600.0, "3 hours ahead of"),
        (40 * DAY, "40 days ahead of"),
        (-29 * DAY, None),
        (-30 * DAY, None),
        (-40 * DAY, "40 days behind"),
    ],
)
def test_a_clock_is_named_that_is_further_off_than_the_server_tolerates(
    ahead: float, text: str | None
) -> None:
    wanted = None if text is None else f"this machine's clock is {text} the server's"
    assert describe_skew(formatdate(NOON, usegmt=True), NOON + ahead) == wanted


@pytest.mark.parametrize(
    "make", [lambda date: Answer(400, date), lambda date: Answer(202, date, b'{"rejected":2}')]
)
@pytest.mark.parametrize("is_wrong", [True, False])
def test_a_refusal_names_a_wrong_clock_and_what_to_do(make: object, is_wrong: bool) -> None:
    rig = Rig()
    theirs = rig.clock.wall() - (40 * DAY if is_wrong else 0.0)
    rig.transport.otherwise = make({"date": formatdate(theirs, usegmt=True)})  # type: ignore[operator]
    rig.track(1, 2)
    rig.flush()
    rig.advance()
    assert sum(rig.dropped.values()) == 2
    message = rig.errors[0].message
    assert ("; this machine's clock is 40 days ahead of the server's; " in message) == is_wrong
    assert ("; set this machine's clock" in message) == is_wrong
