"""While `send_to` is on every client sends to that server; afterwards all is as before."""

from __future__ import annotations

import multiprocessing
import os
from typing import TYPE_CHECKING, Any

import pytest

from whisperr import Whisperr, WhisperrError
from whisperr._integrations.client import environment_client, get_environment_client
from whisperr._options import OVERRIDES
from whisperr.dev import LocalServer, faults
from whisperr.testing import MemoryTransport, capture, send_to

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT = 30.0  # seconds; far more than anything here takes
QUIET: dict[str, Any] = {"flush_interval": 3_600.0, "flush_at": 1_000}
NOWHERE = "http://127.0.0.1:9"  # nothing listens there


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started


@pytest.fixture(autouse=True)
def _no_override_is_left() -> Iterator[None]:
    yield
    assert OVERRIDES.pipeline is None
    assert OVERRIDES.clients is None
    assert environment_client.clear() is None


def get_users(server: LocalServer) -> list[str | None]:
    return [arrival.user for arrival in server.arrivals()]


class TestWhichClients:
    def test_clients_made_before_and_meanwhile_disabled_and_without_a_key_send_there(
        self, server: LocalServer
    ) -> None:
        before = Whisperr("wrk_real", base_url=NOWHERE, **QUIET)
        disabled = Whisperr(disabled=True)
        with send_to(server.url):
            clients = [before, disabled, Whisperr(), get_environment_client()]
            for n, client in enumerate(clients):
                assert client.track(n, "trial_started")
                assert client.flush(LIMIT)
                assert client.stats().delivered == 1
        assert get_users(server) == ["0", "1", "2", "3"]

    def test_the_key_of_a_client_stays_where_it_is(self) -> None:
        with LocalServer(api_key="wrk_local") as server, send_to(server.url):
            client = Whisperr("wrk_real")
            client.track("42", "trial_started")
            assert client.flush(LIMIT)
            assert len(server.wait(1, timeout=LIMIT)) == 1

    def test_the_options_of_a_client_hold(self, server: LocalServer) -> None:
        def review(event: dict[str, Any]) -> dict[str, Any]:
            event["properties"]["reviewed"] = True
            return event

        client = Whisperr("wrk_test", app_version="1.2", test_mode=True, before_send=review)
        with send_to(server.url):
            client.track("42", "trial_started")
            (arrival,) = server.wait(1, timeout=LIMIT)
        assert arrival.body["properties"] == {"reviewed": True}
        assert arrival.body["context"]["app_version"] == "1.2"
        assert arrival.body["context"]["$mode"] == "test"

    def test_a_client_with_the_default_interval_needs_no_flush(self, server: LocalServer) -> None:
        with send_to(server.url):
            Whisperr("wrk_test").track("a", "trial_started")
            assert len(server.wait(1, timeout=LIMIT)) == 1
            client = Whisperr("wrk_test", **QUIET)
            client.track("b", "trial_started")
            assert get_users(server) == ["a"]
            assert client.flush(LIMIT)
        assert get_users(server) == ["a", "b"]

    def test_a_transport_of_its_own_is_used(self, server: LocalServer) -> None:
        transport = MemoryTransport()
        with send_to(server.url):
            client = Whisperr("wrk_test", transport=transport)
            client.track("42", "trial_started")
            assert client.flush(LIMIT)
        assert len(transport.sent) == 1
        assert server.arrivals() == []

    def test_a_durable_buffer_is_not_touched(self, server: LocalServer, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path / 'events.db'}"
        with Whisperr("wrk_test", base_url=NOWHERE, buffer=url, **QUIET) as client:
            client.track("before", "trial_started")
            held = client.stats().held
            with send_to(server.url):
                client.track("meanwhile", "trial_started")
                assert client.flush(LIMIT)
            assert client.stats().held == held == 1
            client.shutdown(0)
        assert get_users(server) == ["meanwhile"]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking with threads: the subject
    def test_a_forked_child_sends_there_too(self, server: LocalServer) -> None:
        with send_to(server.url):
            client = Whisperr()
            client.track("parent", "trial_started")
            assert client.flush(LIMIT)
            child = multiprocessing.get_context("fork").Process(target=_track, args=(client,))
            child.start()
            child.join(LIMIT)
            assert child.exitcode == 0
        assert get_users(server) == ["parent", "child"]


def _track(client: Whisperr) -> None:
    client.track("child", "trial_started")


class TestAfterwards:
    def test_what_was_held_before_stays_and_goes_its_own_way(self, server: LocalServer) -> None:
        with LocalServer() as own:
            client = Whisperr("wrk_test", base_url=own.url, **QUIET)
            client.track("before", "trial_started")
            with send_to(server.url):
                client.track("meanwhile", "trial_started")
                client.shutdown(LIMIT)
            assert client.ready
            client.track("after", "trial_started")
            assert client.shutdown(LIMIT)
            assert get_users(own) == ["before", "after"]
        assert get_users(server) == ["meanwhile"]

    def test_what_is_held_at_the_end_of_the_block_is_delivered(self, server: LocalServer) -> None:
        with send_to(server.url):
            Whisperr("wrk_test", **QUIET).track("42", "trial_started")
        assert get_users(server) == ["42"]

    def test_what_cannot_be_delivered_is_dropped_and_reported(self, server: LocalServer) -> None:
        errors: list[WhisperrError] = []
        client = Whisperr("wrk_test", on_error=errors.append, **QUIET)
        server.set_faults(faults.status(503))
        with send_to(server.url):
            client.track("42", "trial_started")
        server.set_faults()
        assert "shutdown" in {error.reason for error in errors}
        assert client.stats().held == 0
        assert client.shutdown(LIMIT)
        assert server.arrivals() == []

    def test_a_client_of_an_integration_ends_with_the_block(self, server: LocalServer) -> None:
        with send_to(server.url):
            made = get_environment_client()
        assert get_environment_client() is not made
        assert not get_environment_client().enabled
        environment_client.clear()


class TestSeveralBlocks:
    def test_a_capture_inside_records_and_sends_nothing(self, server: LocalServer) -> None:
        client = Whisperr(disabled=True)
        with send_to(server.url):
            with capture() as events:
                client.track("recorded", "trial_started")
            client.track("sent", "trial_started")
            assert client.flush(LIMIT)
        assert [event.user for event in events] == ["recorded"]
        assert get_users(server) == ["sent"]

    def test_of_two_servers_the_newest_gets_the_events_in_any_order_of_ending(
        self, server: LocalServer
    ) -> None:
        client = Whisperr(disabled=True)
        with LocalServer() as other:
            first, second = send_to(server.url), send_to(other.url)
            first.__enter__()
            second.__enter__()
            client.track("other", "trial_started")
            first.__exit__(None, None, None)
            client.track("other", "trial_started")
            assert client.flush(LIMIT)
            second.__exit__(None, None, None)
            assert get_users(other) == ["other", "other"]
        assert server.arrivals() == []


class TestAddress:
    def test_what_is_no_address_is_an_error_that_says_what_to_give(
        self, server: LocalServer
    ) -> None:
        for wrong in (server, "127.0.0.1:80", "ftp://localhost", None):
            with (
                pytest.raises(ValueError, match=r"^url=.*must be the address .* server\.url"),
                send_to(wrong),  # type: ignore[arg-type]  # wrong on purpose
            ):
                pytest.fail("it was accepted")
