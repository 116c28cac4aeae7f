"""docs/trouble/proxies.md holds: its code reaches a server through a proxy, and over TLS."""

from __future__ import annotations

import ssl
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest

from tests.docs.page import get_blocks, get_names, get_rows, get_text, paste
from tests.docs.pasted import run
from tests.http.raw_server import OK, Connection, RawServer, answers
from whisperr._address import LOOPBACK
from whisperr._http.proxy import get_proxy

if TYPE_CHECKING:
    from pathlib import Path

    import trustme

PAGE = "docs/trouble/proxies.md"
HTTPS = "https://service.invalid"
KEY = "wrk_proxies"
CA_FILE = "/etc/ssl/company.pem"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
SEND = '\nwhisperr.track("ada", "seen")\nassert whisperr.flush(60)\n'
PLAIN = f"from whisperr import Whisperr\n\nwhisperr = Whisperr()\n{SEND}"


@pytest.fixture
def authority() -> trustme.CA:
    made: trustme.CA = pytest.importorskip("trustme", reason="trustme: not installed").CA()
    return made


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    """Return the name of the file that the page calls /etc/ssl/company.pem."""
    authority.cert_pem.write_to_path(str(tmp_path / "company.pem"))
    return str(tmp_path / "company.pem")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("REQUEST_METHOD", raising=False)


def get_exported(number: int, **replaced: str) -> dict[str, str]:
    """Return the variable of a block of the page, with the address or file of a test."""
    text = get_blocks(PAGE, "console")[number]
    for word, other in replaced.items():
        text = text.replace({"proxy": "proxy.example:3128", "ca": CA_FILE}[word], other)
    name, _, value = text.removeprefix("export ").strip().partition("=")
    return {name: value}


def encrypt(connection: Connection, authority: trustme.CA, host: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    connection.encrypt(context)
    answers(OK)(connection)


@pytest.mark.parametrize(("block", "credentials"), [(0, None), (1, b"ada:p@ss")])
def test_the_exported_proxy_is_used_and_does_not_see_the_key(
    block: int, credentials: bytes | None, authority: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    def tunnel(connection: Connection) -> None:
        connection.read_request()
        connection.send(ESTABLISHED)
        encrypt(connection, authority, "service.invalid")

    with RawServer(tunnel) as proxy:
        exported = get_exported(block, proxy=f"127.0.0.1:{proxy.port}")
        exported |= get_exported(2, ca=ca_file)
        run(tmp_path, PLAIN, WHISPERR_API_KEY=KEY, WHISPERR_BASE_URL=HTTPS, **exported)
    connect, request = proxy.requests
    assert connect.line == "CONNECT service.invalid:443 HTTP/1.1"
    assert connect.header("X-API-Key") is None
    basic = None if credentials is None else f"Basic {b64encode(credentials).decode()}"
    assert connect.header("Proxy-Authorization") == basic
    assert (request.header("X-API-Key"), request.header("Proxy-Authorization")) == (KEY, None)


def test_the_context_of_the_page_trusts_an_authority_of_your_own(
    authority: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    program = paste(PAGE).replace(CA_FILE, ca_file) + SEND
    with RawServer(lambda connection: encrypt(connection, authority, "localhost")) as server:
        address = f"https://localhost:{server.port}"
        run(tmp_path, program, WHISPERR_API_KEY=KEY, WHISPERR_BASE_URL=address)
    assert len(server.requests) == 1


def test_an_unknown_authority_is_reported_and_keeps_the_event(
    authority: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    program = (
        "from whisperr import Whisperr\n\nwhisperr = Whisperr(max_retries=0)\n"
        'whisperr.track("ada", "seen")\nassert not whisperr.flush(60)\n'
        "assert whisperr.stats().held == 1\nprint(whisperr.stats().problem)\nwhisperr.shutdown(0)\n"
    )
    with RawServer(lambda connection: encrypt(connection, authority, "localhost")) as server:
        done = run(
            tmp_path,
            program,
            WHISPERR_API_KEY=KEY,
            WHISPERR_BASE_URL=f"https://localhost:{server.port}",
            REQUESTS_CA_BUNDLE=ca_file,
            CURL_CA_BUNDLE=ca_file,
        )
    assert "certificate verify failed" in get_text(PAGE)
    assert "certificate verify failed" in done.stdout
    assert server.requests == []


@pytest.mark.parametrize(
    ("no_proxy", "address", "is_direct"),
    [
        ("whisperr.net", ("api.whisperr.net", 443), True),
        ("whisperr.net", ("api.example", 443), False),
        ("collect.example:8443", ("collect.example", 8443), True),
        ("collect.example:8443", ("collect.example", 443), False),
        ("one.example, collect.example", ("collect.example", 443), True),
        ("*", ("api.whisperr.net", 443), True),
        ("10.0.0.0/8", ("10.0.0.1", 443), False),
    ],
)
def test_no_proxy_names_hosts(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, address: tuple[str, int], *, is_direct: bool
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert (get_proxy("https", *address) is None) is is_direct


def test_the_loopback_addresses_of_the_page_never_use_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")
    (line,) = [line for line in get_text(PAGE).splitlines() if "never use a proxy" in line]
    assert tuple(get_names(line)[: len(LOOPBACK)]) == LOOPBACK
    assert [get_proxy("http", host, 8722) for host in LOOPBACK] == [None] * len(LOOPBACK)


def test_each_variable_is_used_for_the_addresses_of_its_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [get_names(row[0])[0] for row in get_rows(PAGE, "Use a proxy")]
    assert names == ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"]
    for name in names[:3]:
        monkeypatch.setenv(name, name)
    assert get_proxy("https", "collect.example", 443) == "HTTPS_PROXY"
    assert get_proxy("http", "collect.example", 80) == "HTTP_PROXY"
    monkeypatch.setenv("REQUEST_METHOD", "POST")
    assert get_proxy("http", "collect.example", 80) == "ALL_PROXY"
    monkeypatch.setenv("https_proxy", "lower")
    assert get_proxy("https", "collect.example", 443) == "lower"
    monkeypatch.delenv("https_proxy")
    monkeypatch.delenv("HTTPS_PROXY")
    assert get_proxy("https", "collect.example", 443) == "ALL_PROXY"


def test_a_base_url_may_have_a_path(tmp_path: Path) -> None:
    with RawServer(answers(OK, OK)) as server:
        program = PLAIN + 'whisperr.identify("ada")\n'
        address = f"{server.url}/whisperr"
        run(tmp_path, program, WHISPERR_API_KEY=KEY, WHISPERR_BASE_URL=address)
    targets = [request.target for request in server.requests]
    assert [target for target in targets if f"`{target}`" not in get_text(PAGE)] == []
    assert len(targets) == 2
