"""`whisperr doctor` with odd addresses, proxies and answers: a finding each, never a traceback."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.http.raw_server import RawServer, answer, answers, close
from whisperr._cli.doctor import diagnose

if TYPE_CHECKING:
    from .conftest import Call

HOSTS = [
    "https://a..b",
    "https://.example",
    f"https://{'x' * 64}.invalid",
    f"https://{'x.' * 150}invalid",
    "https://xn--a.invalid",
    "https://\u00e4\u00f6.invalid",
    "https://\u2028.invalid",
    "https://[::1]:1",
    "https://[::1%25lo]:1",
    "https://[fe80::1%25nothing]:1",
    "https://[::ffff:127.0.0.1]:1",
    "https://[v1.x]",
    "https://[::1",
    "https://127.0.0.1:0",
    "https://127.0.0.1:1",
    "https://127.0.0.1:65536",
    "https://127.0.0.1:-1",
    "https://127.0.0.1:x",
    "https://127.1:1",
    "https://0x7f.1:1",
    "https://user:secret@127.0.0.1:1",
    "https://",
    "https://invalid.:1",
    "http://localhost:1/\u00fc?x=1#y",
    "https://a b.invalid",
    "https://a\nb.invalid",
    "ftp://127.0.0.1",
    "file:///etc/passwd",
    "",
    "x",
]
PROXIES = [
    "http://user:secret@[::1",
    "http://user:secret@127.0.0.1:x",
    "http://user:secret@127.0.0.1:99999",
    "http://user:secret@127.0.0.1:-1",
    "http://user:secret@:80",
    "http://user:secret@",
    "://user:secret",
    "user:secret",
    "socks5://user:secret@127.0.0.1:1",
    "http://user:secret@a..b:80",
    f"http://user:secret@{'x' * 64}.invalid:80",
    "http://user:secret@\u00fc.invalid:80",
    "http://user:secret@127.0.0.1:1\n",
    "http://",
    "x",
    "[",
]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("WHISPERR_API_KEY", "wrk_secret_key")


def check(call: Call, *words: str) -> str:
    """Run the command; it must end with a finding that is wrong, and no secret."""
    ended = call("doctor", "--timeout", "2", *words)
    assert ended.code == 1
    assert len(ended.err.splitlines()) == 1
    assert all(line.isprintable() for line in ended.out.splitlines())
    assert "\u2717" in ended.out
    assert "secret" not in ended.out + ended.err
    return ended.out


@pytest.mark.parametrize("url", HOSTS, ids=range(len(HOSTS)))
def test_an_address_that_leads_nowhere_is_a_finding(call: Call, url: str) -> None:
    check(call, "--base-url", url) if url else check(call, "--base-url", "x")


@pytest.mark.parametrize("proxy", PROXIES, ids=range(len(PROXIES)))
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY"])
def test_a_proxy_that_leads_nowhere_is_a_finding_without_its_password(
    call: Call, monkeypatch: pytest.MonkeyPatch, name: str, proxy: str
) -> None:
    monkeypatch.setenv(name, proxy)
    check(call, "--base-url", "https://whisperr.invalid")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 100,
        b"HTTP/9.9 999 \x1b[2J\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        answer("400 Bad Request", b"[" * 10_000),
        answer("202 Accepted", b"\xff", "Date: Mon, 01 Jan 0001 00:00:00 -2359"),
        answer("202 Accepted", b"{}", "Date: Mon, 99 Xyz 99999 99:99:99 GMT"),
        answer("202 Accepted", b"{}", "Date: Fri, 31 Dec 9999 23:59:59 -2359"),
    ],
    ids=range(9),
)
def test_an_odd_answer_is_a_finding(data: bytes) -> None:
    with RawServer(close, answers(data, data, data)) as server:
        found = list(diagnose(server.url, 5.0))
    names = [one.name for one in found]
    assert [one for one in ("key", "round trip", "clock") if one not in names] == []
    assert "secret" not in json.dumps([one.text for one in found])


def test_a_store_whose_driver_is_missing_is_a_finding(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("redis://[", "redis://:secret@h:x", "sqlite://", "sqlite:///", "x://", "django"):
        monkeypatch.setenv("WHISPERR_BUFFER", url)
        ended = call("doctor", "--base-url", "http://127.0.0.1:1", "--timeout", "2")
        assert ended.code == 1
        assert "Traceback" not in ended.err
