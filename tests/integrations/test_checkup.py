"""What a checkup finds in a configuration."""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from tests.http.raw_server import Behaviour, Connection, RawServer, answer, answers
from whisperr import Answer
from whisperr._contract import is_key_accepted
from whisperr._events.batch import to_request
from whisperr._integrations.checkup import Finding, checkup
from whisperr._options import OPTIONS, Config
from whisperr._secret import Secret
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    import trustme

    from whisperr import Request

REFUSED = answer("400 Bad Request", b'{"error":"no_events"}')


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def make_config(key: str = "wrk_test", **given: Any) -> Config:
    defaults = {option.name: option.default for option in OPTIONS}
    return Config({**defaults, **given, "api_key": Secret(key)})


def get_findings(config: Config) -> dict[str, tuple[str, str]]:
    return {one.name: (one.state, one.text) for one in checkup(config)}


def test_an_empty_request_has_no_events_and_stores_nothing() -> None:
    assert to_request(()).path == "/v1/events/batch"
    assert json.loads(to_request(()).body) == {"events": []}
    with LocalServer() as server:
        list(checkup(make_config(base_url=server.url)))
        assert [r.status for r in server.requests()] == [400]
        assert server.arrivals() == []


@pytest.mark.parametrize(
    ("status", "good"),
    [(400, True), (202, True), (401, False), (403, False), (404, None), (429, None), (503, None)],
)
def test_the_status_of_an_answer_tells_whether_the_key_is_accepted(
    status: int, good: bool | None
) -> None:
    assert is_key_accepted(status) is good


def test_a_right_configuration_is_ok() -> None:
    with LocalServer() as server:
        assert get_findings(make_config(base_url=server.url)) == {
            "configuration": ("ok", f"sends to {server.url}"),
            "host name": ("ok", "127.0.0.1 is 127.0.0.1"),
            "encryption": ("skipped", "http:// has none"),
            "key": ("ok", "accepted (HTTP 400, no_events for a request without events)"),
        }


def test_a_refused_key_is_wrong() -> None:
    with LocalServer(api_key="wrk_other") as server:
        state, text = get_findings(make_config(base_url=server.url))["key"]
    assert (state, text.partition(";")[0]) == ("wrong", "refused (HTTP 401, invalid_api_key)")


def test_an_answer_that_says_nothing_about_the_key_is_doubtful() -> None:
    with LocalServer(faults=[faults.status(503)]) as server:
        state, text = get_findings(make_config(base_url=server.url))["key"]
    assert state == "doubtful"
    assert "HTTP 503" in text


def test_no_answer_is_wrong() -> None:
    with LocalServer() as server:
        pass
    state, text = get_findings(make_config(base_url=server.url))["key"]
    assert (state, text[:32]) == ("wrong", "no answer: ConnectionRefusedErro")


def test_an_unknown_host_is_wrong() -> None:
    state, text = get_findings(make_config(base_url="https://nowhere.invalid"))["host name"]
    assert state == "wrong"
    assert text.startswith("nowhere.invalid: ")


class RecordingTransport:
    """A transport of the caller's own, which refuses every request."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def send(self, request: Request, timeout: float) -> Answer:
        self.requests.append(request)
        return Answer(401)

    def close(self) -> None:
        raise AssertionError("it is the caller's")


def test_a_custom_transport_is_used_and_host_and_encryption_are_skipped() -> None:
    transport = RecordingTransport()
    findings = get_findings(make_config(transport=transport))
    assert len(transport.requests) == 1
    states = [findings[name][0] for name in ("host name", "encryption", "key")]
    assert states == ["skipped", "skipped", "wrong"]


def test_a_proxy_is_named_and_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(answers(REFUSED)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        with pytest.warns(UserWarning, match="unencrypted"):
            findings = get_findings(make_config(base_url="http://service.invalid"))
    assert findings["host name"] == (
        "skipped",
        "requests go through the proxy that the environment names",
    )
    assert findings["configuration"][0] == "doubtful"
    assert findings["key"][0] == "ok"


def test_a_publishable_key_and_a_disabled_client_are_doubtful() -> None:
    transport = RecordingTransport()
    with pytest.warns(UserWarning, match="publishable"):
        config = make_config("wpk_test", transport=transport)
    assert get_findings(config)["configuration"][0] == "doubtful"
    disabled = get_findings(make_config(disabled=True, transport=transport))
    assert disabled["configuration"] == ("doubtful", "disabled: a client with this sends nothing")
    assert disabled["key"] == ("skipped", "disabled")
    tested = get_findings(make_config(test_mode=True, transport=transport))
    assert tested["configuration"][1].endswith(" in test mode")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    made: trustme.CA = pytest.importorskip("trustme", reason="trustme: not installed").CA()
    return made


@pytest.fixture
def behave(authority: trustme.CA) -> Behaviour:
    """Be the server of one handshake; answer what may come."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    def behave(connection: Connection) -> None:
        connection.encrypt(context)
        answers(REFUSED)(connection)

    return behave


class TestEncryption:
    def test_it_names_the_version_and_how_long_the_certificate_is_valid(
        self, authority: trustme.CA, behave: Behaviour
    ) -> None:
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        with RawServer(behave, behave) as server:
            url = f"https://localhost:{server.port}"
            findings = get_findings(make_config(base_url=url, ssl_context=trusting))
        state, text = findings["encryption"]
        assert state == "ok"
        assert text.startswith("TLSv1.3, certificate valid for ")
        assert findings["key"][0] == "ok"

    def test_a_certificate_of_an_unknown_authority_is_wrong(self, behave: Behaviour) -> None:
        with RawServer(behave, behave) as server:
            findings = get_findings(make_config(base_url=f"https://localhost:{server.port}"))
        state, text = findings["encryption"]
        assert state == "wrong"
        assert text.startswith("the certificate: ")
        assert findings["key"][0] == "wrong"

    def test_a_context_that_verifies_nothing_knows_no_date(self, behave: Behaviour) -> None:
        careless = ssl.create_default_context()
        careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
        with RawServer(behave, behave) as server:
            url = f"https://localhost:{server.port}"
            findings = get_findings(make_config(base_url=url, ssl_context=careless))
        assert findings["encryption"] == ("ok", "TLSv1.3")

    def test_a_server_that_speaks_no_tls_is_wrong(self) -> None:
        def plain(connection: Connection) -> None:
            connection.send(REFUSED)

        with RawServer(plain, plain) as server:
            findings = get_findings(make_config(base_url=f"https://localhost:{server.port}"))
        assert findings["encryption"][0] == "wrong"


def test_a_finding_is_a_value() -> None:
    assert Finding("key", "ok", "accepted") == Finding("key", "ok", "accepted")
