"""The default client of a process, and what the client offers to integrations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from whisperr import InvalidEvent, Whisperr, WhisperrError
from whisperr._integrations.client import DefaultClient, get_client_factory, get_environment_client
from whisperr.testing import capture

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def errors() -> list[WhisperrError]:
    return []


@pytest.fixture
def client(errors: list[WhisperrError]) -> Iterator[Whisperr]:
    with Whisperr("wrk_test", on_error=errors.append) as made:
        yield made


class TestDefaultClient:
    def test_it_is_made_on_first_use_and_kept_until_it_is_cleared(self) -> None:
        made: list[Whisperr] = []

        def make() -> Whisperr:
            made.append(Whisperr(disabled=True))
            return made[-1]

        default = DefaultClient(make)
        assert made == []
        assert default.get() is default.get() is made[0]
        assert default.clear() is made[0]
        assert default.clear() is None
        assert default.get() is made[1]

    def test_of_two_that_are_made_at_the_same_moment_one_is_kept(self) -> None:
        first, second = Whisperr(disabled=True), Whisperr(disabled=True)

        def make() -> Whisperr:
            if not inside:
                inside.append(True)
                assert default.get() is second  # another thread is faster
                return first
            return second

        inside: list[bool] = []
        default = DefaultClient(make)
        assert default.get() is second
        assert default.get() is second

    def test_an_error_of_making_leaves_nothing(self) -> None:
        def make() -> Whisperr:
            raise ValueError("no key")

        default = DefaultClient(make)
        with pytest.raises(ValueError, match="no key"):
            default.get()
        assert default.clear() is None


class TestWithoutAKey:
    @pytest.fixture
    def default(self) -> DefaultClient:
        return DefaultClient(Whisperr)

    def test_the_start_of_a_server_is_an_error(self, default: DefaultClient) -> None:
        with pytest.raises(ValueError, match="WHISPERR_API_KEY is not set"):
            default.require()

    def test_everything_else_gets_a_disabled_client_and_one_record(
        self, default: DefaultClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        client = default.get()
        assert default.get() is client
        assert client.track("u", "trial_started") is None
        assert client.stats().state == "disabled"
        (record,) = caplog.records
        assert (record.name, record.levelname) == ("whisperr", "ERROR")
        for text in ("WHISPERR_API_KEY is not set", "WHISPERR_DISABLED=1", '"whisperr doctor"'):
            assert text in record.getMessage()

    def test_a_server_that_starts_afterwards_does_so_only_with_a_key(
        self, default: DefaultClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        disabled = default.get()
        with pytest.raises(ValueError, match="WHISPERR_API_KEY"):
            default.require()
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_test")
        assert default.require().enabled
        assert default.get() is not disabled

    @pytest.mark.parametrize("key", ["", "   "])
    def test_an_empty_key_is_none(
        self, default: DefaultClient, monkeypatch: pytest.MonkeyPatch, key: str
    ) -> None:
        monkeypatch.setenv("WHISPERR_API_KEY", key)
        assert not default.get().enabled
        with pytest.raises(ValueError, match="is empty"):
            default.require()

    def test_a_wrong_key_is_an_error_everywhere(
        self, default: DefaultClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WHISPERR_API_KEY", "two words")
        for ask in (default.get, default.require):
            with pytest.raises(ValueError, match="whitespace"):
                ask()

    def test_it_is_forgotten_like_any_other(self, default: DefaultClient) -> None:
        disabled = default.get()
        assert default.clear() is disabled
        assert default.clear() is None

    def test_a_client_that_is_made_in_a_test_ends_with_its_block(
        self, default: DefaultClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        with capture() as events:
            made = default.require()
            assert default.get() is made
            made.track("u", "trial_started")
        assert len(events) == 1
        assert caplog.records == []
        assert default.get() is not made
        assert len(caplog.records) == 1

    def test_one_that_is_forgotten_in_a_block_is_made_again(self, default: DefaultClient) -> None:
        with capture():
            made = default.get()
            assert default.clear() is made
            assert default.get() is not made


def test_a_client_is_given_as_itself_as_a_function_or_not_at_all(client: Whisperr) -> None:
    assert get_client_factory(client)() is client
    assert get_client_factory(lambda: client)() is client
    assert get_client_factory(None) is get_environment_client


class TestEnabled:
    def test_it_is_false_for_a_disabled_client_only(self, client: Whisperr) -> None:
        assert client.enabled
        assert not Whisperr(disabled=True).enabled

    def test_a_client_that_is_shut_down_stays_enabled_to_report_calls(
        self, client: Whisperr
    ) -> None:
        client.shutdown()
        assert client.enabled


class TestReject:
    def test_the_text_of_an_invalid_event_is_reported(
        self, client: Whisperr, errors: list[WhisperrError]
    ) -> None:
        client.reject("track", InvalidEvent("external_user_id: no session"))
        assert client.stats().not_accepted == {"invalid": 1}
        client.shutdown()
        assert errors[0].reason == "invalid"
        assert errors[0].message.startswith("track: external_user_id: no session (at ")
        assert __file__ in errors[0].message

    def test_of_any_other_error_only_the_type_is_reported(
        self, client: Whisperr, errors: list[WhisperrError]
    ) -> None:
        client.reject("identify", LookupError("ada@example.com"))
        client.shutdown()
        assert errors[0].message.startswith("identify: LookupError (at ")

    def test_strict_mode_raises_an_invalid_event_only(self) -> None:
        with Whisperr("wrk_test", strict=True) as client:
            with pytest.raises(InvalidEvent, match="no session"):
                client.reject("track", InvalidEvent("no session"))
            client.reject("track", LookupError("ada@example.com"))
            assert client.stats().not_accepted == {"invalid": 1}

    def test_a_disabled_client_does_nothing(self) -> None:
        client = Whisperr(disabled=True, strict=True)
        client.reject("track", InvalidEvent("no session"))
        assert client.stats().not_accepted == {}
