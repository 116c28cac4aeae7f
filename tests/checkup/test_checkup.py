"""All checks in their order, and what they find in the configuration."""

from __future__ import annotations

import json
import re
import threading
from typing import TYPE_CHECKING

import pytest

from tests.checkup.conftest import by_name, make_config
from tests.docs.page import ROOT
from whisperr import Answer
from whisperr._checkup.checkup import checkup
from whisperr._checkup.environment import (
    get_installed_version,
    inspect_hosts,
    inspect_machine,
)
from whisperr._checkup.findings import Finding, to_duration, to_size, to_text
from whisperr._checkup.hints import HINTS
from whisperr._contract import PAGES_URL
from whisperr._events.batch import to_request
from whisperr.dev import LocalServer
from whisperr.errors import MissingKey

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from whisperr import Request
    from whisperr._checkup.findings import State
    from whisperr._options import Config


class RecordingTransport:
    """A transport of the caller's own, which refuses every request."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def send(self, request: Request, timeout: float) -> Answer:
        self.requests.append(request)
        return Answer(401)

    def close(self) -> None:
        raise AssertionError("it is the caller's")


def run(config: Config) -> dict[str, Finding]:
    return by_name(checkup(lambda: config))


def test_an_empty_request_has_no_events_and_stores_nothing() -> None:
    assert to_request(()).path == "/v1/events/batch"
    assert json.loads(to_request(()).body) == {"events": []}
    with LocalServer() as server:
        list(checkup(lambda: make_config(base_url=server.url)))
        assert [r.status for r in server.requests()] == [400]
        assert server.arrivals() == []


def test_a_right_configuration_is_ok_in_every_check_and_in_this_order() -> None:
    with LocalServer() as server:
        found = run(make_config(base_url=server.url))
    at = list(found).index("configuration")
    texts = {
        one.name: (one.state, re.sub(r"\d+(?= ms)", "1", one.text))
        for one in list(found.values())[at : at + 10]
    }
    address = server.url.removeprefix("http://")
    assert list(texts.items()) == [
        (
            "configuration",
            ("doubtful", f"sends to {server.url}, from base_url: this machine, not the service"),
        ),
        ("kind of key", ("ok", "wrk_, a server key")),
        ("proxy", ("ok", "none")),
        ("host name", ("ok", "127.0.0.1 is an address")),
        ("connection", ("ok", f"{address} at 127.0.0.1 (1 ms)")),
        ("encryption", ("skipped", "none: the address is http://")),
        ("key", ("ok", "accepted by whisperr dev, not the service (HTTP 400, no_events)")),
        ("round trip", ("ok", "1 ms, including the connection")),
        ("clock", ("ok", found["clock"].text)),
        ("buffer", ("ok", "memory: at most 10,000 events, lost when the process is killed")),
    ]
    assert list(found)[:2] == ["versions", "threads"]
    assert list(found)[-1] == "end of a process"


def test_a_check_runs_when_its_finding_is_asked_for() -> None:
    with LocalServer() as server:
        findings = checkup(lambda: make_config(base_url=server.url))
        while next(findings).name != "encryption":
            pass
        assert server.requests() == []
        assert next(findings).name == "key"
        assert len(server.requests()) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MissingKey("api_key: none given and WHISPERR_API_KEY is not set; so"), "no_key"),
        (MissingKey("api_key: is empty; create a server key"), "no_key"),
        (ValueError("api_key: must not contain whitespace, control or"), "key_spaces"),
        (ValueError("flush_at=0: must be a whole number from 1"), "invalid"),
        (ImportError("buffer: Redis needs redis-py; pip install it"), "no_driver"),
    ],
)
def test_a_configuration_that_makes_no_client_is_wrong_and_ends_the_checks(
    error: Exception, code: str
) -> None:
    def fail() -> Config:
        raise error

    found = by_name(checkup(fail))
    assert found["configuration"].state == "wrong"
    assert found["configuration"].text in str(error)
    assert found["configuration"].hint == HINTS[code].fix
    assert "key" not in found
    assert "end of a process" in found


def test_the_transport_of_the_caller_is_used_and_the_way_is_not_checked() -> None:
    transport = RecordingTransport()
    found = run(make_config(transport=transport))
    assert len(transport.requests) == 1
    states = {name: found[name].state for name in ("host name", "connection", "encryption", "key")}
    assert list(states.values()) == ["skipped", "skipped", "skipped", "wrong"]


def test_a_disabled_client_is_doubtful_and_nothing_else_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    transport = RecordingTransport()
    given: dict[str, Any] = {
        "disabled": True,
        "base_url": "https://nowhere.invalid",
        "buffer": f"sqlite:///{tmp_path}/no/events.db",
    }
    found = run(make_config(**given))
    assert found["configuration"].state == "doubtful"
    assert found["configuration"].text == "disabled: the client sends nothing"
    names = [name for name, one in found.items() if one == (name, "skipped", "disabled", "")]
    assert names == [
        *("kind of key", "proxy", "host name", "connection", "encryption"),
        *("key", "round trip", "clock", "buffer"),
    ]
    assert not [one for one in found.values() if one.state == "wrong"]
    run(make_config(disabled=True, transport=transport))
    assert transport.requests == []
    monkeypatch.setenv("WHISPERR_DISABLED", "1")
    text = run(make_config(disabled=True, transport=transport))["configuration"].text
    assert text.startswith("disabled, by WHISPERR_DISABLED: ")


@pytest.mark.parametrize(
    ("given", "variable", "state", "text"),
    [
        (None, None, "ok", "sends to https://api.whisperr.net, the default"),
        (None, "https://eu.example/", "ok", "sends to https://eu.example, from WHISPERR_BASE_URL"),
        (
            "https://a.example/v",
            "https://eu.example",
            "ok",
            "sends to https://a.example/v, from SETTING",
        ),
        (
            None,
            "HTTP://localhost:8722/",
            "doubtful",
            "sends to http://localhost:8722, from WHISPERR_BASE_URL: this machine, not the service",
        ),
        (
            "http://[::1]:8722",
            None,
            "doubtful",
            "sends to http://[::1]:8722, from SETTING: this machine, not the service",
        ),
    ],
)
def test_the_address_is_named_with_its_source(
    monkeypatch: pytest.MonkeyPatch, given: str | None, variable: str | None, state: str, text: str
) -> None:
    if variable:
        monkeypatch.setenv("WHISPERR_BASE_URL", variable)
    config = make_config(base_url=given, transport=RecordingTransport())
    found = by_name(checkup(lambda: config, given="SETTING"))["configuration"]
    assert (found.state, found.text) == (state, text)
    source = "WHISPERR_BASE_URL" if variable else "SETTING"
    fix = HINTS["this_machine"].fix.format(source=source)
    assert found.hint == (fix if state == "doubtful" else "")


def test_the_test_mode_is_named() -> None:
    found = run(make_config(test_mode=True, transport=RecordingTransport()))
    assert found["configuration"].text.endswith(" in test mode")


def test_an_address_that_sends_the_key_unencrypted_is_doubtful() -> None:
    transport = RecordingTransport()
    with pytest.warns(UserWarning, match="unencrypted"):
        config = make_config(base_url="http://service.invalid", transport=transport)
    assert run(config)["configuration"].state == "doubtful"


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("wpk_1234", "key_publishable"),
        ("sk_1234", "key_unknown"),
        ('"wrk_1234"', "key_quoted"),
        ("wrk_1234'", "key_quoted"),
    ],
)
@pytest.mark.filterwarnings("ignore:api_key. this is a publishable key:UserWarning")
def test_a_key_of_another_kind_is_doubtful_and_never_shown(key: str, code: str) -> None:
    found = run(make_config(key, transport=RecordingTransport()))
    assert found["kind of key"].state == "doubtful"
    assert found["kind of key"].hint == HINTS[code].fix
    assert "1234" not in json.dumps(list(found.values()))


class TestEnvironment:
    def test_installed_hosts_are_listed_with_their_requirements(self) -> None:
        installed = {"uwsgi": "2.0.25", "gevent": "25.9"}
        found = by_name(inspect_hosts(installed.get))
        assert found["uwsgi 2.0.25"].state == "skipped"  # no warning: it is only installed
        assert "enable-threads" in found["uwsgi 2.0.25"].text
        assert "monkey.patch_all()" in found["gevent 25.9"].text
        assert not any(name.startswith("celery") for name in found)

    def test_a_host_to_which_the_client_is_connected_needs_nothing(self) -> None:
        found = by_name(inspect_hosts({"celery": "5.7", "rq": "2.6"}.get, {"celery"}))
        assert found["celery 5.7"] == Finding(
            "celery 5.7", "ok", "get_client() connects its client"
        )
        assert "flush()" in found["rq 2.6"].text

    def test_pages_are_named_by_urls_that_lead_to_files_of_the_repository(self) -> None:
        found = list(inspect_hosts(lambda _: "1.0"))
        urls = re.findall(r"https://[^\s)]+", " ".join(one.text for one in found))
        assert len(urls) >= 4
        for url in urls:
            assert url.startswith(PAGES_URL)
            assert (ROOT / "docs" / url.removeprefix(PAGES_URL)).is_file(), url
        assert not any(re.search(r"(?<!/)docs/", one.text) for one in found)

    def test_the_url_of_the_pages_is_that_of_the_project(self) -> None:
        text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        (repository,) = re.findall(r'^Repository = "(.+)"$', text, re.MULTILINE)
        assert f"{repository}/blob/main/docs/" == PAGES_URL

    def test_installed_packages_are_looked_up(self) -> None:
        assert get_installed_version("pytest") == pytest.__version__
        assert get_installed_version("no-such-package-8842") is None

    def test_threads_that_cannot_be_started_are_wrong(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        assert by_name(inspect_machine())["threads"].state == "ok"
        monkeypatch.setattr(threading.Thread, "start", refuse)
        finding = by_name(inspect_machine())["threads"]
        assert finding.state == "wrong"
        assert finding.text.startswith("can't start new thread: events wait for")


class TestText:
    def test_a_line_has_a_sign_the_name_and_the_text(self) -> None:
        line = to_text(Finding("key", "ok", "accepted"), lambda sign, _: sign, "utf-8")
        assert line == "✓ key               accepted"

    def test_the_fix_is_a_line_of_its_own_below_the_text(self) -> None:
        finding = Finding("key", "wrong", "refused", "create another one")
        first, second = to_text(finding, lambda sign, _: f"<{sign}>", "utf-8").splitlines()
        assert first == "<✗> key               refused"
        assert second == "                    fix: create another one"

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1", "no-such-encoding"])
    def test_signs_can_be_told_apart_where_the_terminal_has_no_check_mark(
        self, encoding: str
    ) -> None:
        states: list[State] = ["ok", "doubtful", "wrong", "skipped"]
        lines = [to_text(Finding("x", state, ""), lambda s, _: s, encoding) for state in states]
        assert [line[0] for line in lines] == ["+", "!", "x", "-"]

    def test_foreign_text_is_one_line_and_bounded(self) -> None:
        finding = Finding("buffer", "wrong", "a\n\x1b[2J" + "b" * 10_000, "c\nd")
        first, second = to_text(finding, lambda sign, _: sign, None).splitlines()
        assert "a\\n\\x1b[2Jb" in first
        assert len(first) < 1_000
        assert second.endswith("c\\nd")

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0.2, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7_199, "120 min"),
            (7_200, "2 h"),
            (172_799, "48 h"),
            (172_800, "2 days"),
            (3_456_000, "40 days"),
        ],
    )
    def test_a_duration_has_the_unit_that_fits(self, seconds: float, text: str) -> None:
        assert to_duration(seconds) == text

    @pytest.mark.parametrize(
        ("size", "text"),
        [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KB"),
            (70 << 30, "70.0 GB"),
            (3 << 40, "3.0 TB"),
            (3 << 60, "3,145,728.0 TB"),
        ],
    )
    def test_a_size_has_the_unit_that_fits(self, size: int, text: str) -> None:
        assert to_size(size) == text
