"""The pytest plugin: the fixtures `whisperr_events` and `whisperr_server`, and strict mode.

pytest loads it when this package is installed. Run `pytest -p no:whisperr` to leave it out.

- The marker `@pytest.mark.whisperr(strict=True)` makes bad input raise `InvalidEvent` in one test;
  `strict=False` prevents that.
- The ini option `whisperr_strict = true` makes bad input raise in every test.

In a test run, a client that a module makes while it is imported needs no key. Without one it does
nothing until a fixture records its events or sends them to the local server.

.. versionadded:: 1.0
"""

# Every test run in an environment with this package loads the plugin, so it imports only pytest.
# The first test that needs `whisperr.testing` or the local server imports them.

from __future__ import annotations

import pytest

from ._options import OVERRIDES
from .errors import InvalidEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from .dev import LocalServer
    from .testing import Events

__all__ = ["whisperr_events", "whisperr_server"]

_KEYLESS: pytest.StashKey[Callable[[], bool] | None] = pytest.StashKey()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Let modules create clients without a key, including those that a conftest.py imports."""
    early_config.stash[_KEYLESS] = OVERRIDES.keyless
    OVERRIDES.keyless = _is_importing


def pytest_unconfigure(config: pytest.Config) -> None:
    """Require a key again after the test run."""
    OVERRIDES.keyless = config.stash.get(_KEYLESS, None)


def _is_importing() -> bool:
    from ._keyless import is_importing

    return is_importing()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini option."""
    parser.addini(
        "whisperr_strict",
        "Make every whisperr client raise InvalidEvent for bad input",
        type="bool",
        default=False,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    text = (
        "whisperr(strict=True): raise InvalidEvent for bad input in this test; strict=False: never"
    )
    config.addinivalue_line("markers", text)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse a marker with arguments other than `strict`."""
    for marker in item.iter_markers("whisperr"):
        wrong = marker.args or set(marker.kwargs) - {"strict"}
        if wrong or not isinstance(marker.kwargs.get("strict", True), bool):
            pytest.fail(
                "the marker whisperr takes only strict=True or strict=False",
                pytrace=False,
            )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, None, None]:
    """Apply the marker or the option to a test and all its fixtures."""
    marker = item.get_closest_marker("whisperr")
    if marker is None and not item.config.getini("whisperr_strict"):
        yield
        return
    from . import testing

    with testing.strict(marker is None or marker.kwargs.get("strict", True)):
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, None, None]:
    """End the traceback of a refused call at the line of the test or the application."""
    if call.excinfo is not None and call.excinfo.errisinstance(InvalidEvent):
        last = call.excinfo.tb
        entry = last.tb_next
        while entry is not None:
            if entry.tb_frame.f_globals.get("__name__", "").split(".")[0] != "whisperr":
                last = entry
            entry = entry.tb_next
        last.tb_next = None  # without the later frames, of this package
    yield


@pytest.fixture
def whisperr_events() -> Iterator[Events]:
    """Record what every client of the process tracks in this test.

    Nothing is sent, and no key is needed. The fixture is a `whisperr.testing.capture` that lasts
    for the test.

    Example::

        def test_an_upgrade_is_tracked(whisperr_events):
            upgrade(42, "pro")
            whisperr_events.assert_tracked("plan_upgraded", user=42)

    Yields:
        The recorded events, oldest first, with methods to query and assert.
    """
    from .testing import capture

    with capture() as events:
        yield events


@pytest.fixture
def whisperr_server(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalServer]:
    """Start a local ingestion server for this test, to which every client sends.

    The clients may be older than the test, and need no key. Processes that the test starts find the
    server by `WHISPERR_BASE_URL` and `WHISPERR_API_KEY`. The fixture cannot be combined with
    `whisperr_events`.

    Example::

        def test_an_upgrade_arrives(whisperr_server):
            upgrade(42, "pro")
            (arrival,) = whisperr_server.wait(1)

    Yields:
        The server, which listens on a free port of 127.0.0.1.
    """
    if "whisperr_events" in request.fixturenames:
        pytest.fail(
            "whisperr_events records events and sends nothing, so nothing would arrive at "
            "whisperr_server: use one of the two",
            pytrace=False,
        )
    from .dev import LocalServer
    from .testing import send_to

    with LocalServer() as server, send_to(server.url):
        monkeypatch.setenv("WHISPERR_BASE_URL", server.url)
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_local")
        monkeypatch.delenv("WHISPERR_DISABLED", raising=False)
        yield server
