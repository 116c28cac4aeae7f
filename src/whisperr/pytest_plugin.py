"""The pytest plugin: the fixtures `whisperr_events` and `whisperr_server`, and strictness.

Every test run of an environment that has this package loads it, so it imports pytest and nothing
else; `whisperr.testing` and the local server come with the first test that asks for them. It is
registered as `whisperr`: `-p no:whisperr` leaves it out.
"""

from __future__ import annotations

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import TracebackType

    from .dev import LocalServer
    from .testing import Events

_MARKER = "whisperr(strict=True): raise InvalidEvent for bad input in this test; False: never"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini option."""
    parser.addini(
        "whisperr_strict",
        "Let every client of whisperr raise InvalidEvent for bad input",
        type="bool",
        default=False,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse a marker that says something else than it can say."""
    for marker in item.iter_markers("whisperr"):
        wrong = marker.args or set(marker.kwargs) - {"strict"}
        if wrong or not isinstance(marker.kwargs.get("strict", True), bool):
            pytest.fail(
                "the marker whisperr takes strict=True or strict=False and nothing else",
                pytrace=False,
            )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, None, None]:
    """Be strict from the first fixture of a test to its last, as marker or option ask."""
    strict = _strictness_of(item)
    if strict is None:
        yield
        return
    from . import testing

    with testing.strict(strict):
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, None, None]:
    """Let a refused call fail at the line of the test's or the application's, not in here."""
    from . import InvalidEvent

    if call.excinfo is not None and call.excinfo.errisinstance(InvalidEvent):
        _end_at_the_call(call.excinfo.tb)
    yield


@pytest.fixture
def whisperr_events() -> Iterator[Events]:
    """Record what every client of the process tracks in this test; nothing is sent.

    See `whisperr.testing.capture`.
    """
    from .testing import capture

    with capture() as events:
        yield events


@pytest.fixture
def whisperr_server(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalServer]:
    """Start a local ingestion server on a free port for this test.

    WHISPERR_BASE_URL and WHISPERR_API_KEY lead clients to it that are made in the test, and
    processes that it starts.
    """
    if "whisperr_events" in request.fixturenames:
        pytest.fail(
            "whisperr_events records instead of sending, so nothing would arrive at "
            "whisperr_server: use one of the two",
            pytrace=False,
        )
    from .dev import LocalServer

    with LocalServer() as server:
        monkeypatch.setenv("WHISPERR_BASE_URL", server.url)
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_local")
        yield server


def _strictness_of(item: pytest.Item) -> bool | None:
    """Return what the nearest marker says, else the option; None: what the clients say."""
    marker = item.get_closest_marker("whisperr")
    if marker is not None:
        return bool(marker.kwargs.get("strict", True))
    return True if item.config.getini("whisperr_strict") else None


def _end_at_the_call(trace: TracebackType) -> None:
    """Cut off what a traceback has inside this package, after the last line of theirs."""
    last, entry = trace, trace.tb_next
    while entry is not None:
        if entry.tb_frame.f_globals.get("__name__", "").split(".")[0] != "whisperr":
            last = entry
        entry = entry.tb_next
    last.tb_next = None
