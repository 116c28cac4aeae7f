"""When the service is known to be down, a shutdown makes only one short attempt."""

from __future__ import annotations

import pytest

from tests.delivery.rig import Rig
from whisperr._contract import Answer
from whisperr._delivery.outage import Outage, get_outage

REFUSED = OSError("refused")


@pytest.mark.parametrize(
    ("attempts", "at", "known"),
    [
        ([], 100.0, False),
        ([(10.0, None)], 12.9, False),
        ([(10.0, None)], 13.0, True),
        ([(10.0, 503)], 13.0, True),
        ([(10.0, None)], 100.0, True),
        ([(10.0, None)], 100.1, False),
        ([(10.0, None), (40.0, 500)], 130.0, True),
        ([(10.0, None), (40.0, 202), (41.0, None)], 43.0, False),
        ([(10.0, None), (40.0, 429)], 43.0, False),
        ([(10.0, None), (40.0, 401)], 43.0, False),
        ([(10.0, None), (200.0, None)], 201.0, False),
    ],
)
def test_an_outage_is_known_when_all_attempts_have_failed_for_a_while(
    attempts: list[tuple[float, int | None]], at: float, known: bool
) -> None:
    outage = Outage()
    for moment, status in attempts:
        outage.note(status, moment)
    assert outage.is_known(at) is known


def test_clients_of_one_address_share_what_they_know() -> None:
    get_outage("http://one.test").note(None, 10.0)
    assert get_outage("http://one.test").is_known(20.0)
    assert not get_outage("http://two.test").is_known(20.0)


def close_after(
    seconds: float, *replies: Answer | OSError, events: int = 1, within: float = 10.0
) -> Rig:
    """Fail for some seconds, then shut down while the service answers as given."""
    rig = Rig(*[REFUSED] * 20, max_retries=20)
    rig.track(*range(events))
    rig.flush()
    rig.advance(seconds)
    rig.transport.replies = [*replies]
    rig.transport.otherwise = REFUSED
    rig.transport.sent.clear()
    rig.close(within)
    rig.advance(within)
    return rig


def test_a_shutdown_in_a_known_outage_makes_one_short_attempt() -> None:
    rig = close_after(20.0)
    assert [sent.timeout for sent in rig.transport.sent] == [2.0]
    assert rig.dropped == {"shutdown": 1}
    assert rig.scheduler.ended


def test_a_shutdown_retries_if_attempts_began_to_fail_only_recently() -> None:
    rig = close_after(0.1)
    assert len(rig.transport.sent) > 2


def test_a_shutdown_that_has_more_time_than_an_exit_uses_it() -> None:
    rig = close_after(20.0, within=60.0)
    assert len(rig.transport.sent) > 1
    assert max(sent.timeout for sent in rig.transport.sent) == 10.0


def test_a_shutdown_delivers_everything_when_the_service_is_back() -> None:
    rig = close_after(20.0, Answer(202), REFUSED, Answer(202), events=600)
    assert rig.accounting.delivered == 600


def test_a_give_up_before_is_remembered() -> None:
    rig = Rig(max_retries=0)
    rig.transport.otherwise = REFUSED
    for number in range(3):
        rig.track(number)
        rig.flush()
        rig.advance(2.0)
    rig.transport.sent.clear()
    rig.close(10.0)
    rig.advance(10.0)
    assert len(rig.transport.sent) == 1
