"""No proxy of this machine, and a way to make the configuration that is checked."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from whisperr._delivery.pipeline import resolve_buffer
from whisperr._options import OPTIONS, Config
from whisperr._secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable

    from whisperr._checkup.findings import Finding


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("WHISPERR_BASE_URL", "WHISPERR_BUFFER", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def make_config(key: str = "wrk_test", **given: Any) -> Config:
    defaults = {option.name: option.default for option in OPTIONS}
    return resolve_buffer(Config({**defaults, **given, "api_key": Secret(key)}))


def by_name(findings: Iterable[Finding]) -> dict[str, Finding]:
    """Return findings by their names, which occur once."""
    found = list(findings)
    named = {one.name: one for one in found}
    assert len(named) == len(found)
    return named
