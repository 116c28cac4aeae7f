"""The public client, with a transport that answers at once."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.delivery.pipelines import KEY, LIMIT, Clients, Errors
from whisperr import InvalidEvent, Whisperr
from whisperr._contract import Answer
from whisperr.billing import Signal, Signals
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def transport() -> MemoryTransport:
    return MemoryTransport()


@pytest.fixture
def client(transport: MemoryTransport) -> Iterator[Clients]:
    made = Clients(transport)
    yield made
    made.end()


def sent(transport: MemoryTransport) -> list[dict[str, Any]]:
    return [one for request in transport.sent for one in request.events]


class TestDisabled:
    @pytest.mark.parametrize("strict", [False, True])
    def test_a_disabled_client_does_nothing_with_any_input(
        self, client: Clients, transport: MemoryTransport, strict: bool
    ) -> None:
        errors = Errors()
        before = set(threading.enumerate())
        one = client(disabled=True, strict=strict, on_error=errors)
        assert one.track("u", "payment_failed") is None
        assert one.track(None, "Not A Name", object()) is None  # type: ignore[arg-type]
        one.identify(None, channels=5)  # type: ignore[arg-type]
        assert one.flush()
        assert one.shutdown()
        assert asyncio.run(one.aflush())
        assert not one.ready
        assert one.stats().state == "disabled"
        assert one.stats().accepted == 0
        assert transport.sent == []
        assert errors.seen == []
        assert set(threading.enumerate()) <= before

    def test_a_disabled_client_needs_no_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("WHISPERR_API_KEY", raising=False)
        with pytest.raises(ValueError, match="api_key"):
            Whisperr()
        assert "disabled" in repr(Whisperr(disabled=True))


class TestTrack:
    def test_the_id_of_an_accepted_event_is_returned(
        self, client: Clients, transport: MemoryTransport
    ) -> None:
        one = client()
        chosen = one.track(42, "payment_failed", {"amount_cents": 4900}, {"plan": "pro"})
        assert one.flush(LIMIT)
        (event,) = sent(transport)
        assert transport.sent[0].path == "/v1/events/batch"
        assert event["external_user_id"] == "42"
        assert event["properties"] == {"amount_cents": 4900}
        assert event["context"]["$message_id"] == chosen
        assert event["context"]["plan"] == "pro"

    def test_a_chosen_id_is_returned(self, client: Clients) -> None:
        assert client().track("u", "e", message_id="evt_1") == "evt_1"

    def test_changes_after_the_call_are_not_sent(
        self, client: Clients, transport: MemoryTransport
    ) -> None:
        one = client()
        properties: dict[str, Any] = {"items": [1]}
        one.track("u", "e", properties)
        properties["items"].append(2)
        properties["late"] = True
        assert one.flush(LIMIT)
        assert sent(transport)[0]["properties"] == {"items": [1]}

    def test_calls_are_sent_in_their_order(
        self, client: Clients, transport: MemoryTransport
    ) -> None:
        one = client()
        one.track("u", "first")
        one.identify("u", traits={"plan": "pro"}, email="ada@example.com")
        one.track("u", "second")
        assert one.flush(LIMIT)
        assert [event.get("event_type") for event in sent(transport)] == ["first", None, "second"]
        assert transport.sent[1].path == "/v1/identify"

    def test_options_reach_the_events(self, client: Clients, transport: MemoryTransport) -> None:
        one = client(app_version="2.1", test_mode=True)
        one.track("u", "e")
        assert one.flush(LIMIT)
        context = sent(transport)[0]["context"]
        assert (context["app_version"], context["$mode"]) == ("2.1", "test")

    def test_a_new_client_has_started_no_thread(self, client: Clients) -> None:
        before = set(threading.enumerate())
        one = client()
        assert one.ready
        assert one.stats().state == "running"
        assert set(threading.enumerate()) <= before


class TestBeforeSend:
    def test_before_send_changes_what_is_sent(
        self, client: Clients, transport: MemoryTransport
    ) -> None:
        def anonymise(event: dict[str, Any]) -> dict[str, Any]:
            event["properties"].pop("email")
            return event

        one = client(before_send=anonymise)
        one.track("u", "e", {"email": "ada@example.com", "kept": 1})
        assert one.flush(LIMIT)
        assert sent(transport)[0]["properties"] == {"kept": 1}

    @pytest.mark.parametrize("strict", [False, True])
    def test_a_veto_is_counted_and_not_reported(
        self, client: Clients, transport: MemoryTransport, strict: bool
    ) -> None:
        errors = Errors()
        one = client(before_send=lambda _: None, on_error=errors, strict=strict)
        assert one.track("u", "e") is None
        assert one.flush(LIMIT)
        assert one.stats().not_accepted == {"vetoed": 1}
        assert (errors.seen, transport.sent) == ([], [])

    def test_if_before_send_raises_the_event_is_dropped_and_reported(self, client: Clients) -> None:
        def fail(_: object) -> None:
            raise KeyError("ada@example.com")

        errors = Errors()
        one = client(before_send=fail, on_error=errors)
        assert one.track("u", "e") is None
        assert errors.reported.wait(LIMIT)
        assert errors.seen[0].reason == "invalid"
        assert "ada" not in errors.seen[0].message


class TestEnding:
    def test_a_with_block_delivers_and_shuts_down(
        self, client: Clients, transport: MemoryTransport
    ) -> None:
        with client() as one:
            one.track("u", "e")
        assert len(sent(transport)) == 1
        assert not one.ready
        assert one.stats().state == "closed"

    def test_a_with_block_that_raises_delivers_too(
        self, client: Clients, transport: MemoryTransport
    ) -> None:
        one = client()
        one.track("u", "e")
        with pytest.raises(KeyError), one:
            raise KeyError
        assert len(sent(transport)) == 1

    def test_an_async_with_block_delivers_and_shuts_down(
        self, client: Clients, transport: MemoryTransport
    ) -> None:
        async def main() -> Whisperr:
            async with client() as one:
                one.track("u", "e")
            return one

        assert not asyncio.run(main()).ready
        assert len(sent(transport)) == 1

    @pytest.mark.parametrize("name", ["aflush", "ashutdown"])
    def test_the_event_loop_keeps_running_meanwhile(self, client: Clients, name: str) -> None:
        held = MemoryTransport(held=True)

        async def main() -> bool:
            one = client(transport=held)
            one.track("u", "e")
            waiting = asyncio.create_task(getattr(one, name)(LIMIT))
            await asyncio.to_thread(held.await_request)
            held.let_go()  # only a running loop gets here
            result: bool = await waiting
            return result

        assert asyncio.run(asyncio.wait_for(main(), LIMIT * 2))

    def test_stats_count_what_happened(self, client: Clients, transport: MemoryTransport) -> None:
        transport.replies = [Answer(202), Answer(410), Answer(401)]
        one = client(max_batch_size=2)
        for _ in range(6):
            one.track("u", "e")
        assert not one.flush(LIMIT)
        stats = one.stats()
        assert (stats.accepted, stats.delivered, stats.held) == (6, 2, 2)
        assert stats.dropped == {"rejected": 2}
        assert (stats.requests, stats.retries) == (3, 0)
        assert (stats.state, stats.problem) == (
            "paused",
            "the server refused the API key (HTTP 401)",
        )
        assert stats.held_bytes > 0

    def test_repr_names_the_address_and_never_the_key(self, client: Clients) -> None:
        one = client(base_url="https://collect.example/v9")
        assert repr(one) == "<Whisperr https://collect.example/v9 open>"
        one.shutdown(LIMIT)
        assert repr(one) == "<Whisperr https://collect.example/v9 closed>"
        assert KEY not in repr(vars(one)) + repr(one._config._fields())


def make_signal(**changes: Any) -> Signal:
    """Return a signal as a module of a provider makes it."""
    given: dict[str, Any] = {
        "user": 8842,
        "event_type": "renewal_succeeded",
        "properties": {"price": Decimal("9.90"), "currency": "EUR"},
        "occurred_at": datetime.now(timezone.utc) - timedelta(days=2),
        "message_id": "evt_1:renewal_succeeded",
        "context": {"provider": "stripe", "$occurrence_key": "stripe:in_1:renewal_succeeded"},
    }
    return Signal(**{**given, **changes})


class TestSignals:
    def test_a_signal_is_sent_with_all_that_it_has(
        self, client: Clients, transport: MemoryTransport
    ) -> None:
        one, signal = client(), make_signal()
        assert one.track_signal(signal) == signal.message_id
        assert one.flush(LIMIT)
        (event,) = sent(transport)
        assert event["external_user_id"] == "8842"
        assert event["event_type"] == "renewal_succeeded"
        assert event["properties"] == {"price": 9.90, "currency": "EUR"}
        assert event["context"]["$message_id"] == signal.message_id
        assert signal.context.items() <= event["context"].items()
        assert "$mode" not in event["context"]
        at = datetime.fromisoformat(event["occurred_at"].replace("Z", "+00:00"))
        assert abs(at - signal.occurred_at) < timedelta(milliseconds=1)

    @pytest.mark.parametrize(
        ("context", "test_mode", "mode"),
        [({}, False, None), ({"$mode": "test"}, False, "test"), ({}, True, "test")],
    )
    def test_a_test_of_the_provider_or_of_the_client_is_a_test(
        self,
        client: Clients,
        transport: MemoryTransport,
        context: dict[str, Any],
        test_mode: bool,
        mode: str | None,
    ) -> None:
        one = client(test_mode=test_mode)
        one.track_signal(make_signal(context=context))
        assert one.flush(LIMIT)
        assert sent(transport)[0]["context"].get("$mode") == mode

    def test_the_ids_of_several_are_returned_and_none_for_a_refused_one(
        self, client: Clients
    ) -> None:
        signals = Signals([make_signal(message_id="evt_1:a"), make_signal(user=" ")])
        assert client().track_signals(signals) == ["evt_1:a", None]
        assert client().track_signals(Signals()) == []

    @pytest.mark.parametrize(
        ("given", "fix"),
        [
            (Signals([]), "got Signals; call track_signals"),
            ({"id": "evt_1"}, "got dict; pass an item of signals"),
            (None, "got NoneType; pass an item of signals"),
        ],
    )
    def test_what_is_no_signal_is_reported_and_raises_if_strict(
        self, client: Clients, given: Any, fix: str
    ) -> None:
        errors = Errors()
        one = client(on_error=errors)
        assert one.track_signal(given) is None
        assert errors.reported.wait(LIMIT)
        assert fix in errors.seen[0].message
        assert one.stats().not_accepted == {"invalid": 1}
        with pytest.raises(InvalidEvent, match=fix.replace("(", r"\(")):
            client(strict=True).track_signal(given)

    def test_a_bad_signal_raises_if_strict(self, client: Clients) -> None:
        with pytest.raises(InvalidEvent, match="external_user_id"):
            client(strict=True).track_signals([make_signal(), make_signal(user=None)])

    @pytest.mark.parametrize("strict", [False, True])
    def test_a_disabled_or_closed_client_sends_none(
        self, client: Clients, transport: MemoryTransport, strict: bool
    ) -> None:
        closed, disabled = client(), client(disabled=True, strict=strict)
        assert closed.shutdown()
        for one in (closed, disabled):
            assert one.track_signals([make_signal()]) == [None]
        assert disabled.track_signal(object()) is None  # type: ignore[arg-type]
        assert transport.sent == []
