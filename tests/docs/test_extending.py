"""docs/delivery/extending.md holds: its queue, its sink and its transports do what it says."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.docs.kafka import Broker
from tests.docs.page import get_blocks, get_text
from whisperr import Whisperr, protocols
from whisperr._process.imports import json_loads
from whisperr.dev import LocalServer
from whisperr.dev.faults import status
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from whisperr import WhisperrError

PAGE = "docs/delivery/extending.md"
EVENT = b'{"event_type":"seen","external_user_id":"ada"}'
IDENTIFY = b'{"external_user_id":"ada"}'


class Analytics:
    """The client of another SDK."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def track(self, *given: Any) -> None:
        self.seen.append(given)
        if len(self.seen) > 1:
            raise LookupError("ada@example.com")


@pytest.fixture(autouse=True)
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    """A broker that `confluent_kafka`, of which there is a double, talks to."""
    broker = Broker()
    monkeypatch.setitem(sys.modules, "confluent_kafka", broker.make_module())
    return broker


def run_blocks(*, classes_only: bool = False) -> dict[str, Any]:
    """Run the blocks of the page and return their names; classes are in blocks with a file name."""
    names: dict[str, Any] = {"__name__": "extending", "analytics": Analytics()}
    for number, text in enumerate(get_blocks(PAGE, "python")):
        if text.startswith("# ") or not classes_only:
            exec(compile(text, f"{PAGE}, block {number + 1}", "exec"), names)
    return names


@pytest.fixture
def classes() -> dict[str, Any]:
    return run_blocks(classes_only=True)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run every block of the page in an empty folder, and return the names."""
    monkeypatch.chdir(tmp_path)
    return run_blocks()


def get_lines(path: str) -> list[tuple[str, Any]]:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [(line.split(" ", 1)[0], json_loads()(line.split(" ", 1)[1])) for line in lines]


@pytest.mark.usefixtures("page")
def test_the_transport_writes_each_request_on_a_line() -> None:
    (events, body), (identify, known) = get_lines("requests.log")
    assert (events, identify) == ("/v1/events/batch", "/v1/identify")
    assert body["events"][0]["properties"] == {"amount_cents": 4900}
    assert known == {"external_user_id": "user_8842", "traits": {"plan": "pro"}}


@pytest.mark.usefixtures("page")
def test_the_queue_delivers_what_it_held_compressed() -> None:
    sent = [event for _, body in get_lines("compressed.log") for event in body["events"]]
    assert [event["properties"]["n"] for event in sent] == [0, 1, 2]


@pytest.mark.usefixtures("page")
def test_the_sink_writes_each_event_on_a_line() -> None:
    (line,) = Path("events.log").read_text(encoding="utf-8").splitlines()
    assert json_loads()(line)["event_type"] == "payment_failed"


def test_a_copy_goes_to_the_other_sdk_and_its_failure_drops_no_event(
    page: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert page["analytics"].seen == [("user_8842", "payment_failed", {"amount_cents": 4900})]
    assert len(get_lines("copied.log")) == 1
    transport = MemoryTransport()
    with Whisperr("wrk_test", transport=transport, before_send=page["copy"]) as client:
        assert client.track("ada", "seen")
    assert [event["event_type"] for event in transport.sent[0].events] == ["seen"]
    assert caplog.messages == ["an event was not copied"]


class TestKafka:
    def test_the_forwarder_delivers_what_the_transport_wrote_with_its_ids(
        self, page: dict[str, Any], broker: Broker
    ) -> None:
        events, identify = broker.messages
        assert (events.key(), identify.key()) == (b"/v1/events/batch", b"/v1/identify")
        (sent,) = json_loads()(events.value())["events"]
        consumer = broker.consumer()
        with LocalServer() as server, Whisperr("wrk_test", base_url=server.url) as client:
            for _ in range(3):  # the third time there is no message
                page["forward"](consumer, client)
            event, user = server.arrivals()
            assert event.body == sent
            assert user.body == {"external_user_id": "user_8842", "traits": {"plan": "pro"}}
            assert consumer.committed == [events, identify]
            page["forward"](broker.consumer(), client)  # another process that reads it again
            assert server.arrivals(status="duplicate")[0].message_id == event.message_id

    def test_a_message_that_is_not_delivered_is_not_committed(
        self, page: dict[str, Any], broker: Broker
    ) -> None:
        consumer = broker.consumer()
        with LocalServer(faults=[status(503)]) as server:
            client = Whisperr("wrk_test", base_url=server.url, max_retries=0)
            with pytest.raises(SystemExit, match="read again"):
                page["forward"](consumer, client)
            client.shutdown(0)
        assert consumer.committed == []

    def test_an_error_of_the_consumer_is_raised(
        self, classes: dict[str, Any], broker: Broker
    ) -> None:
        broker.add_error("the partition is gone")
        with (
            Whisperr("wrk_test", transport=MemoryTransport()) as client,
            pytest.raises(broker.KafkaException, match="the partition is gone"),
        ):
            classes["forward"](broker.consumer(), client)

    @pytest.mark.parametrize(
        ("fault", "problem"),
        [
            ("silent", "no answer: TimeoutError: Kafka did not confirm the message within 10 s"),
            ("refuses", "no answer: KafkaException: the message is too large"),
            ("full", "no answer: BufferError: Local: Queue full"),
        ],
    )
    def test_what_the_broker_did_not_confirm_is_sent_again(
        self, classes: dict[str, Any], broker: Broker, fault: str, problem: str
    ) -> None:
        broker.fault = fault
        transport = classes["KafkaTransport"]({"bootstrap.servers": "localhost:9092"}, "whisperr")
        client = Whisperr("wrk_test", transport=transport, max_retries=0)
        client.track("ada", "seen")
        assert client.flush(60) is False
        assert client.stats().problem == problem
        assert broker.messages == []
        broker.fault = ""
        assert client.flush(60) is True
        assert client.shutdown() is True
        (message,) = broker.messages
        assert json_loads()(message.value())["events"][0]["event_type"] == "seen"
        assert client.stats().delivered == 1


def test_a_sink_that_cannot_store_refuses_the_event(
    classes: dict[str, Any], tmp_path: Path
) -> None:
    errors: list[WhisperrError] = []
    sink = classes["LogSink"](str(tmp_path))
    with Whisperr("wrk_test", buffer=sink, on_error=errors.append) as client:
        assert client.track("ada", "seen") is None
        assert client.flush() is True
        assert dict(client.stats().not_accepted) == {"not_stored": 1}
    assert [error.reason for error in errors] == ["not_stored"]


def test_the_queue_drops_the_oldest_events_and_reports_them(classes: dict[str, Any]) -> None:
    errors: list[WhisperrError] = []
    transport = MemoryTransport()
    client = Whisperr(
        "wrk_test",
        transport=transport,
        buffer=classes["CompressedBuffer"](),
        max_queue_size=2,
        flush_interval=60.0,
        on_error=errors.append,
    )
    for number in range(5):
        client.track("ada", "seen", {"n": number})
    client.identify("ada", traits={"plan": "pro"})
    assert client.shutdown() is True
    stats = client.stats()
    assert stats.held == 0
    assert stats.accepted == 6 == stats.delivered + sum(stats.dropped.values())
    assert sum(error.count for error in errors) == stats.dropped.get("queue_full", 0)


def test_a_queue_without_a_config_is_taken_too(classes: dict[str, Any]) -> None:
    transport = MemoryTransport()
    with Whisperr("wrk_test", transport=transport, buffer=classes["CompressedQueue"](9)) as client:
        client.track("ada", "seen")
    assert [event["event_type"] for event in transport.sent[0].events] == ["seen"]


class TestQueue:
    """The methods one by one, as the page describes them."""

    def test_an_identify_is_alone_in_its_batch(self, classes: dict[str, Any]) -> None:
        queue = classes["CompressedQueue"](10)
        for data in (EVENT, EVENT, IDENTIFY, IDENTIFY, EVENT):
            assert queue.put(data) == []
        batches = []
        while len(queue):
            batch = queue.claim(500)
            batches.append(len(batch))
            assert queue.ack(len(batch)) == len(batch)
        assert batches == [2, 1, 1, 1]

    def test_a_released_batch_is_claimed_again_in_its_order(self, classes: dict[str, Any]) -> None:
        queue = classes["CompressedQueue"](10)
        events = [EVENT.replace(b"ada", b"%d" % number) for number in range(5)]
        for data in events:
            queue.put(data)
        assert queue.claim(3) == events[:3]
        assert queue.ack(1) == 1
        assert queue.release() == []
        assert queue.claim(500) == events[1:]

    def test_a_position_is_settled_when_all_before_it_are_finished(
        self, classes: dict[str, Any]
    ) -> None:
        queue = classes["CompressedQueue"](10)
        assert queue.settled(queue.tail())
        queue.put(EVENT)
        position = queue.tail()
        queue.put(EVENT)
        assert not queue.settled(position)
        queue.claim(1)
        assert not queue.settled(position)
        queue.ack(1)
        assert queue.settled(position)
        assert not queue.settled(queue.tail())

    def test_a_drain_returns_claimed_events_too(self, classes: dict[str, Any]) -> None:
        queue = classes["CompressedQueue"](10)
        for _ in range(3):
            queue.put(EVENT)
        queue.claim(1)
        assert queue.held_bytes > 0
        assert queue.drain() == [EVENT] * 3
        assert (len(queue), queue.held_bytes, queue.ack(1)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("protocol", "example"),
    [
        ("Transport", "FileTransport"),
        ("Transport", "KafkaTransport"),
        ("Queue", "CompressedQueue"),
        ("Sink", "LogSink"),
        ("BufferConfig", "CompressedBuffer"),
        ("BufferConfig", "LogSink"),
    ],
)
def test_an_example_has_the_methods_of_its_protocol(
    classes: dict[str, Any], protocol: str, example: str
) -> None:
    wanted = {
        name: member
        for name, member in vars(getattr(protocols, protocol)).items()
        if name == "__len__" or (not name.startswith("_") and name != "register")
    }
    for name, member in wanted.items():
        assert hasattr(classes[example], name), name
        if inspect.isfunction(member):
            parameters = inspect.signature(getattr(classes[example], name)).parameters
            assert list(parameters) == list(inspect.signature(member).parameters)
    assert wanted


def test_the_page_names_every_method_of_a_queue() -> None:
    text = get_text(PAGE)
    for name in vars(protocols.Queue):
        if not name.startswith("_"):
            assert f"| `{name}" in text
    for name in {*vars(protocols.SharedQueue)} - {*vars(protocols.Queue)}:
        if not name.startswith("_"):
            assert f"`{name}" in text
