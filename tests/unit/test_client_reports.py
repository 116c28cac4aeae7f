"""What the client reports: bad input, losses, and the log in debug mode."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.delivery.pipelines import KEY, LIMIT, Clients, Errors
from whisperr import InvalidEvent, Whisperr, WhisperrError
from whisperr._contract import Answer
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def transport() -> MemoryTransport:
    return MemoryTransport()


@pytest.fixture
def client(transport: MemoryTransport) -> Iterator[Clients]:
    made = Clients(transport)
    yield made
    made.end()


class Hostile:
    """An object that cannot be converted to a string."""

    def __str__(self) -> str:
        raise RuntimeError("do not read me")

    __repr__ = __str__


BAD_CALLS: list[Callable[[Whisperr], object]] = [
    lambda one: one.track(None, "e"),
    lambda one: one.track("u", "Not A Name"),
    lambda one: one.track("u", "e", ["no", "object"]),  # type: ignore[arg-type]
    lambda one: one.track(Hostile(), "e"),
    lambda one: one.track("u", "e", occurred_at="yesterday"),  # type: ignore[arg-type]
    lambda one: one.identify(""),
    lambda one: one.identify("u", preferred_channel="fax"),  # type: ignore[arg-type]
]


class TestBadInput:
    @pytest.mark.parametrize("call", BAD_CALLS)
    def test_bad_input_is_reported_and_never_raised(
        self, client: Clients, call: Callable[[Whisperr], object]
    ) -> None:
        errors = Errors()
        one = client(on_error=errors)
        assert call(one) is None
        assert errors.reported.wait(LIMIT)
        assert [(e.type, e.reason, e.count) for e in errors.seen] == [("dropped", "invalid", 1)]
        assert one.stats().not_accepted == {"invalid": 1}
        assert one.stats().accepted == 0

    @pytest.mark.parametrize("call", BAD_CALLS)
    def test_bad_input_is_raised_in_strict_mode(
        self, client: Clients, call: Callable[[Whisperr], object]
    ) -> None:
        errors = Errors()
        one = client(strict=True, on_error=errors)
        with pytest.raises(InvalidEvent):
            call(one)
        assert one.flush(LIMIT)
        assert errors.seen == []

    def test_the_report_names_the_call_site(self, client: Clients) -> None:
        errors = Errors()
        client(on_error=errors).track("u", "Not A Name")
        assert errors.reported.wait(LIMIT)
        assert f"(at {__file__}:" in errors.seen[0].message

    @pytest.mark.parametrize("strict", [False, True])
    @pytest.mark.parametrize(
        "call", [lambda one: one.track("u", "e"), lambda one: one.identify("u")]
    )
    def test_a_call_after_shutdown_is_reported_even_in_strict_mode(
        self, client: Clients, call: Callable[[Whisperr], object], strict: bool
    ) -> None:
        errors = Errors()
        one = client(on_error=errors, strict=strict)
        assert one.shutdown(LIMIT)
        assert call(one) is None
        assert [error.reason for error in errors.seen] == ["closed"]
        assert not one.ready


CALLBACKS: dict[str, Callable[[Whisperr], object]] = {
    "track": lambda one: one.track("u", "from_on_error"),
    "bad track": lambda one: one.track(None, "e"),
    "identify": lambda one: one.identify("u"),
    "flush": lambda one: one.flush(),
    "flush in time": lambda one: one.flush(LIMIT),
    "shutdown": lambda one: one.shutdown(),
    "stats": lambda one: one.stats(),
    "ready": lambda one: one.ready,
    "repr": repr,
    "aflush": lambda one: asyncio.run(one.aflush(0.0)),
}


class TestOnError:
    @pytest.mark.parametrize("name", CALLBACKS)
    def test_on_error_may_call_any_method(
        self, client: Clients, transport: MemoryTransport, name: str
    ) -> None:
        def call(_: WhisperrError) -> None:
            CALLBACKS[name](one)

        transport.replies = [Answer(410)]
        errors = Errors(call)
        one: Whisperr = client(on_error=errors)
        one.track("u", "refused")
        one.flush(LIMIT)
        assert errors.reported.wait(LIMIT)
        one.shutdown(LIMIT)
        stats = one.stats()
        assert stats.held == 0
        assert stats.accepted == stats.delivered + sum(stats.dropped.values())

    def test_an_exception_of_on_error_is_logged_without_its_text(
        self, client: Clients, transport: MemoryTransport, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(_: WhisperrError) -> None:
            raise KeyError("ada@example.com")

        transport.replies = [Answer(410)]
        errors = Errors(fail)
        one = client(on_error=errors)
        one.track("u", "refused")
        one.flush(LIMIT)
        assert errors.reported.wait(LIMIT)
        one.track("u", "e")
        assert one.shutdown(LIMIT)
        assert "on_error raised KeyError" in caplog.text
        assert "ada@" not in caplog.text
        assert one.stats().delivered == 1


class TestDebug:
    @pytest.fixture(autouse=True)
    def _restore(self) -> Iterator[None]:
        log = logging.getLogger("whisperr")
        level, handlers = log.level, list(log.handlers)
        yield
        log.setLevel(level)
        log.handlers[:] = handlers

    def test_debug_adds_one_handler_for_any_number_of_clients(self, client: Clients) -> None:
        log = logging.getLogger("whisperr")
        before = len(log.handlers)
        client(debug=True)
        client(debug=True)
        assert len(log.handlers) == before + 1

    @pytest.mark.parametrize("options", [{}, {"debug": True, "disabled": True}])
    def test_no_handler_is_added_without_debug(
        self, client: Clients, options: dict[str, Any]
    ) -> None:
        before = list(logging.getLogger("whisperr").handlers)
        client(**options)
        assert logging.getLogger("whisperr").handlers == before

    def test_the_log_shows_requests_and_no_payload(
        self, client: Clients, capsys: pytest.CaptureFixture[str]
    ) -> None:
        one = client(debug=True)
        one.track("ada", "payment_failed", {"card": "4242"})
        assert one.shutdown(LIMIT)
        output = capsys.readouterr().err
        assert "HTTP 202" in output
        assert not any(secret in output for secret in (KEY, "ada", "4242"))


class TestAFailingStore:
    """No report says that events are stored which the store did not take."""

    def end(self, buffer: str, transport: MemoryTransport) -> tuple[Errors, Whisperr]:
        """Track one event, fail to deliver it, and shut the client down."""
        transport.replies = [OSError("no route")]
        errors = Errors()
        one = Whisperr(KEY, transport=transport, buffer=buffer, max_retries=0, on_error=errors)
        one.track("u", "seen")
        assert not one.shutdown(LIMIT) or one.stats().stored
        return errors, one

    @pytest.mark.parametrize("buffer", ["sqlite:///{}/missing/events.db", "redis://127.0.0.1:1/0"])
    def test_the_one_record_of_the_loss_names_both_failures_and_the_repair(
        self,
        buffer: str,
        transport: MemoryTransport,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        _, one = self.end(buffer.format(tmp_path), transport)
        assert one.stats().dropped == {"shutdown": 1}
        warnings = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
        assert not [line for line in warnings if "kept in the store" in line]
        (line,) = [line for line in warnings if "no route" in line]
        assert line.startswith("whisperr: not delivered before shutdown ended; ")
        assert "; not stored: " in line
        assert "; 1 event dropped (shutdown); repair the buffer's store" in line
        assert "use a durable buffer" not in line

    def test_events_in_a_store_that_works_are_kept(
        self, transport: MemoryTransport, tmp_path: Path
    ) -> None:
        errors, one = self.end(f"sqlite:///{tmp_path}/events.db", transport)
        assert one.stats().stored == 1
        (error,) = errors.seen
        assert "1 event kept in the store for the next process" in error.message
