"""Fixtures for all tests: each leaves the process as it was."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.redis_server import redis_server
from whisperr._integrations.client import environment_client

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["pytester"]  # runs pytest in tests/testing
# The speed of examples depends on how busy the machine is, and PyPy starts slowly.
settings.register_profile("patient", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("patient")


def pytest_configure() -> None:
    """Switch threads every WHISPERR_SWITCH_INTERVAL seconds, such as 1e-6.

    A shell lets what it runs in the background ignore Ctrl-C, and programs that tests start would
    inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    interval = os.environ.get("WHISPERR_SWITCH_INTERVAL")
    if interval:
        sys.setswitchinterval(float(interval))


def pytest_report_header() -> str:
    return f"threads are switched after {sys.getswitchinterval():g} s"


__all__ = ["redis_server"]  # a fixture for all folders


@pytest.fixture(autouse=True)
def _logger_as_before() -> Iterator[None]:
    """Remove what the `debug` option adds to the logger of the process."""
    log = logging.getLogger("whisperr")
    handlers, level = list(log.handlers), log.level
    yield
    log.handlers[:] = handlers
    log.setLevel(level)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the variables of the machine that change what a client does."""
    for name in ("API_KEY", "BASE_URL", "BUFFER", "DISABLED", "DEBUG", "TEST_MODE"):
        monkeypatch.delenv(f"WHISPERR_{name}", raising=False)


@pytest.fixture
def _no_client_of_the_process() -> Iterator[None]:
    """Let the default client of integrations be made in the test, and be gone after it."""
    assert environment_client.clear() is None
    yield
    client = environment_client.clear()
    if client is not None:
        client.shutdown()
