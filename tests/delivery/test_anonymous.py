"""Calls for an anonymous visitor: counted, and reported at most once a minute."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.delivery.pipelines import LIMIT, Clients
from whisperr import InvalidEvent, Whisperr, WhisperrError
from whisperr._delivery.accounting import ClientAccounting
from whisperr._delivery.reporter import ANONYMOUS_INTERVAL, Reporter
from whisperr._events.event import AnonymousUser, EventEncoder, join_user
from whisperr._events.identify import encode_identify
from whisperr.testing import MemoryTransport, capture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Text(str):
    """A subclass of str."""

    __slots__ = ()


NO_USERS = [None, "", " ", "\t\n", Text(""), Text(" ")]
WRONG = [True, 1.5, b"", [], {}, ()]
CALLS: dict[str, Callable[[Any], object]] = {
    "track": lambda user: EventEncoder("1").encode(user, "e"),
    "identify": encode_identify,
    "a user that is known later": lambda user: join_user(b"{", user, b"}"),
}


@pytest.mark.parametrize("user", NO_USERS, ids=repr)
@pytest.mark.parametrize("name", CALLS)
def test_none_and_blank_text_are_no_user(name: str, user: object) -> None:
    with pytest.raises(AnonymousUser, match=r"^external_user_id: must "):
        CALLS[name](user)


@pytest.mark.parametrize("user", WRONG, ids=repr)
@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_user_is_an_ordinary_mistake(name: str, user: object) -> None:
    with pytest.raises(InvalidEvent, match=r"^external_user_id: ") as caught:
        CALLS[name](user)
    assert not isinstance(caught.value, AnonymousUser)


@pytest.mark.parametrize("user", NO_USERS, ids=repr)
def test_before_send_that_removes_the_user_is_an_ordinary_mistake(user: object) -> None:
    encoder = EventEncoder("1", before_send=lambda event: {**event, "external_user_id": user})
    with pytest.raises(InvalidEvent, match=r"^before_send: external_user_id: must ") as caught:
        encoder.encode("u", "e")
    assert not isinstance(caught.value, AnonymousUser)


@pytest.mark.parametrize("value", ["", " "])
def test_another_blank_id_is_an_ordinary_mistake(value: object) -> None:
    with pytest.raises(InvalidEvent, match=r"^message_id: ") as caught:
        EventEncoder("1").encode("u", "e", message_id=value)
    assert not isinstance(caught.value, AnonymousUser)
    with pytest.raises(InvalidEvent, match=r"^anonymous_id: ") as caught:
        encode_identify("u", anonymous_id=value)
    assert not isinstance(caught.value, AnonymousUser)


class Scene:
    """An accounting without a thread, and what its reporter passed to `on_error`."""

    def __init__(self) -> None:
        self.errors: list[WhisperrError] = []
        self.reporter = Reporter(self.errors.append)
        self.accounting = ClientAccounting(self.reporter)

    def call(self, times: int = 1) -> None:
        for _ in range(times):
            self.accounting.not_accepted("invalid", "track: None", ANONYMOUS_INTERVAL)

    def mistake(self) -> None:
        self.accounting.not_accepted("invalid", "track: event_type")

    @property
    def reports(self) -> list[tuple[str, int]]:
        return [(error.message, error.count) for error in self.errors]


class TestOnceAMinute:
    @pytest.mark.parametrize(
        ("later", "counts"), [(1.0, [1]), (59.9, [1]), (60.0, [1, 500]), (900.0, [1, 500])]
    )
    def test_the_first_is_reported_at_once_and_the_others_once_a_minute(
        self, later: float, counts: list[int]
    ) -> None:
        scene = Scene()
        scene.call()
        scene.reporter.emit(100.0)
        scene.call(500)
        scene.reporter.emit(100.0 + later)
        assert [count for _, count in scene.reports] == counts

    def test_the_thread_is_not_woken_each_second_for_them(self) -> None:
        scene = Scene()
        scene.call()
        scene.reporter.emit(100.0)
        scene.call()
        assert scene.reporter.due() == 160.0
        scene.mistake()
        scene.reporter.emit(100.5)
        scene.mistake()
        assert scene.reporter.due() == 101.5

    def test_other_mistakes_neither_wait_for_them_nor_join_them(self) -> None:
        scene = Scene()
        scene.call()
        scene.reporter.emit(100.0)
        scene.call()
        scene.mistake()
        scene.reporter.emit(100.0)
        said = [(text.partition(";")[0], count) for text, count in scene.reports]
        assert said == [("track: None", 1), ("track: event_type", 1)]

    def test_at_the_end_all_reports_are_emitted(self) -> None:
        scene = Scene()
        scene.call()
        scene.reporter.emit(100.0)
        scene.call(7)
        scene.reporter.emit(101.0, everything=True)
        assert [count for _, count in scene.reports] == [1, 7]
        assert scene.reporter.due() is None


class Reports:
    """An `on_error` that can be waited for, by a piece of the message."""

    def __init__(self) -> None:
        self.seen: list[WhisperrError] = []
        self.mistake = threading.Event()

    def __call__(self, error: WhisperrError) -> None:
        self.seen.append(error)
        if "event_type" in error.message:
            self.mistake.set()

    def find(self, text: str) -> list[int]:
        return [error.count for error in self.seen if text in error.message]


@pytest.fixture
def client() -> Iterator[Clients]:
    made = Clients(MemoryTransport())
    yield made
    made.end()


def call_without_user(one: Whisperr) -> None:
    one.track(None, "page_viewed")
    one.track("", "page_viewed")
    one.track("  ", "page_viewed")
    one.identify(None, traits={"plan": "pro"})


def test_all_are_counted_and_the_report_says_what_to_do(client: Clients) -> None:
    reports = Reports()
    one = client(on_error=reports)
    for _ in range(50):
        call_without_user(one)
    one.track("u", "Not A Name")
    assert reports.mistake.wait(LIMIT)
    assert one.stats().not_accepted == {"invalid": 201}
    assert one.shutdown(LIMIT)
    counts = reports.find("anonymous visitor")
    assert len(counts) in {1, 2}  # at once, and at the end
    assert sum(counts) == 200
    assert "for an anonymous visitor, skip the call (at " in reports.seen[0].message
    assert {error.reason for error in reports.seen} == {"invalid"}


@pytest.mark.parametrize("user", NO_USERS, ids=repr)
def test_strict_raises_as_for_any_mistake(client: Clients, user: object) -> None:
    one = client(strict=True)
    with pytest.raises(InvalidEvent, match="external_user_id: must "):
        one.track(user, "page_viewed")
    with pytest.raises(InvalidEvent, match="external_user_id: must "):
        one.identify(user)
    assert one.stats().not_accepted == {}


def test_a_capture_lists_each_refused_call(client: Clients) -> None:
    one = client()
    with capture() as events:
        call_without_user(one)
        assert len(events.refused) == 4
