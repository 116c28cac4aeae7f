"""A double of `confluent_kafka` 2.16: the classes and signatures that the documentation uses.

The real package was tried once against the mock cluster of librdkafka (`test.mock.num.brokers`).
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    OnDelivery = Callable[[object, "Message"], None]


class Message:
    """A message of a topic, or an error that `poll` returns in its place."""

    def __init__(self, key: bytes, value: bytes, error: str | None = None) -> None:
        self._key = key
        self._value = value
        self._error = error

    def key(self) -> bytes:
        return self._key

    def value(self) -> bytes:
        return self._value

    def error(self) -> str | None:
        return self._error


class Broker:
    """One topic. `fault`: "silent", "refuses", "full" (the queue of the producer) or none."""

    class KafkaException(Exception):  # its real name
        pass

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.fault = ""

    def add_error(self, error: str) -> None:
        """Have a consumer read an error next."""
        self.messages.append(Message(b"", b"", error))

    def make_module(self) -> ModuleType:
        """Return a module whose producers write to this broker."""
        module = ModuleType("confluent_kafka")

        def make_producer(config: dict[str, Any]) -> Producer:
            assert config == {"bootstrap.servers": "localhost:9092"}
            return Producer(self)

        vars(module).update(
            Producer=make_producer, Consumer=Consumer, KafkaException=self.KafkaException
        )
        return module

    def consumer(self) -> Consumer:
        """Return a consumer that has subscribed, and reads from the beginning."""
        return Consumer(self)


class Producer:
    """Keeps messages until `flush`, as the real one does until a broker has confirmed them."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._waiting: list[tuple[Message, OnDelivery | None]] = []

    def produce(
        self,
        topic: str,
        value: str | bytes | None = None,
        key: str | bytes | None = None,
        partition: int = -1,
        callback: OnDelivery | None = None,
        on_delivery: OnDelivery | None = None,
        timestamp: int = 0,
        headers: object = None,
    ) -> None:
        assert topic == "whisperr"
        if self._broker.fault == "full":
            raise BufferError("Local: Queue full")
        message = Message(_to_bytes(key), _to_bytes(value))
        self._waiting.append((message, on_delivery or callback))

    def flush(self, timeout: float = -1) -> int:
        assert timeout > 0
        if self._broker.fault == "silent":
            return len(self._waiting)
        waiting, self._waiting = self._waiting, []
        for message, report in waiting:
            refused = "the message is too large" if self._broker.fault == "refuses" else None
            if refused is None:
                self._broker.messages.append(message)
            if report is not None:
                report(refused, message)
        return 0

    def purge(self, *, in_queue: bool = True, in_flight: bool = True) -> None:
        assert in_queue
        assert in_flight
        self._waiting = []


class Consumer:
    """Reads the messages in order; `committed` are those whose offset was committed."""

    def __init__(self, broker: Broker) -> None:
        self._unread = iter([*broker.messages])
        self.committed: list[Message] = []

    def poll(self, timeout: float | None = None) -> Message | None:
        assert timeout
        return next(self._unread, None)

    def commit(self, message: Message, *, asynchronous: bool = True) -> None:
        assert not asynchronous
        self.committed.append(message)


def _to_bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""
