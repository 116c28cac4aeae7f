"""The signals and the tracker of a task, in this process, with tasks that run eagerly."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("celery", reason="Celery is not installed")

from celery import Celery, current_task, signals
from celery.exceptions import SoftTimeLimitExceeded

from whisperr import Whisperr, WhisperrError
from whisperr.celery import (
    _Connection,
    _connection,
    connect,
    connect_unless_connected,
    current,
    from_argument,
)
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS = (signals.worker_process_shutdown, signals.worker_shutdown, signals.task_postrun)


@pytest.fixture(autouse=True)
def _unconnected() -> Iterator[None]:
    receivers = [list(signal.receivers or ()) for signal in SIGNALS]
    saved = dict(vars(_connection))
    _set([[] for _ in SIGNALS], vars(_Connection()))
    yield
    _set(receivers, saved)


def _set(receivers: list[list[Any]], saved: dict[str, Any]) -> None:
    for signal, its in zip(SIGNALS, receivers, strict=True):
        signal.receivers = its
    vars(_connection).update(saved)


@pytest.fixture
def errors() -> list[WhisperrError]:
    return []


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started


@pytest.fixture
def client(server: LocalServer, errors: list[WhisperrError]) -> Iterator[Whisperr]:
    with Whisperr(
        "wrk_test", base_url=server.url, flush_interval=3600, on_error=errors.append
    ) as made:
        yield made


def run(task: Any, **given: Any) -> Any:
    """Run a task with these arguments now, as a worker would."""
    app = Celery("test", set_as_current=False)
    app.conf.task_always_eager = True
    return app.task(task).apply(kwargs=given, throw=True).get()


def get_user(task: Any) -> Any:
    return task.request.kwargs["user_id"]


def export(user_id: Any) -> str | None:
    current.identify(traits={"exports": 1})
    return current.track("export_failed", {"rows": 3})


def test_the_user_is_the_one_of_the_task(client: Whisperr, server: LocalServer) -> None:
    connect(client, resolve_user=get_user)
    message_id = run(export, user_id=8842)
    assert current.client is client
    client.flush()
    assert [(a.user, a.type) for a in server.arrivals()] == [
        ("8842", None),
        ("8842", "export_failed"),
    ]
    assert server.arrivals()[1].body["context"]["$message_id"] == message_id


class TestFromArgument:
    """The user is an argument of the task, however the task was called."""

    def resolve(self, function: Any, *args: Any, **options: Any) -> list[object]:
        """Return what is read while the task runs with these arguments."""
        found: list[object] = []

        @wraps(function)
        def task(*given: Any, **named: Any) -> None:
            found.append(from_argument("user_id")(current_task))

        kwargs = options.pop("kwargs", {})
        app = Celery("test", set_as_current=False)
        app.task(task, **options).apply(args=args, kwargs=kwargs, throw=True).get()
        return found

    def test_by_position_by_name_or_by_default(self) -> None:
        def task(rows: int, user_id: str = "ada@work", *more: int) -> None: ...

        assert self.resolve(task, 3, "ada") == ["ada"]
        assert self.resolve(task, 3, "ada", 5, 6) == ["ada"]
        assert self.resolve(task, 3, kwargs={"user_id": "ada"}) == ["ada"]
        assert self.resolve(task, 3) == ["ada@work"]

    def test_of_a_bound_task_and_of_one_that_is_retried(self) -> None:
        def task(self: Any, user_id: str) -> None: ...

        assert self.resolve(task, "ada", bind=True) == ["ada"]
        assert self.resolve(task, "ada", bind=True, autoretry_for=(OSError,)) == ["ada"]

    def test_among_any_names(self) -> None:
        def task(**fields: str) -> None: ...

        assert self.resolve(task, kwargs={"user_id": "ada"}) == ["ada"]
        assert self.resolve(task, kwargs={"user": "ada"}) == [None]

    def test_a_task_without_it_has_no_user(self) -> None:
        def task(user: str) -> None: ...

        assert self.resolve(task, "ada") == [None]


def test_a_task_without_a_user_is_named_with_debug(
    server: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    def report(account_id: int) -> str | None:
        return current.track("export_failed")

    with Whisperr("wrk_test", base_url=server.url, debug=True) as client:
        connect(client, resolve_user=from_argument("user_id"))
        run(report, account_id=7)
    texts = [text for text in caplog.messages if "has no user" in text]
    assert len(texts) == 1
    assert "report has no user, because resolve_user returned None" in texts[0]
    assert server.arrivals() == []


@pytest.mark.parametrize(
    ("resolve_user", "text"),
    [
        (None, "connect() was given no resolve_user"),
        (lambda task: task.request.kwargs["account"], "resolve_user raised KeyError"),
    ],
)
def test_a_user_who_cannot_be_read_is_reported_and_the_task_goes_on(
    resolve_user: Any, text: str, client: Whisperr, errors: list[WhisperrError]
) -> None:
    connect(client, resolve_user=resolve_user)
    assert run(export, user_id=8842) is None
    client.shutdown()
    assert text in errors[0].message


def test_a_time_limit_that_ends_the_resolver_ends_the_task(
    client: Whisperr, errors: list[WhisperrError]
) -> None:
    def resolve_user(task: Any) -> str:
        raise SoftTimeLimitExceeded(5)

    def export_for_too_long() -> str:
        current.track("export_failed")
        return "ran past its limit"

    connect(client, resolve_user=resolve_user)
    with pytest.raises(SoftTimeLimitExceeded):
        run(export_for_too_long)
    assert client.stats().not_accepted == {}
    assert errors == []


@pytest.mark.parametrize("times", [{"timeout": -1}, {"flush_after_task": "2"}])
def test_a_wrong_time_limit_is_an_error_where_the_application_is_made(times: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"{next(iter(times))} must be"):
        connect(**times)


def test_outside_of_a_task_there_is_no_user(client: Whisperr, errors: list[WhisperrError]) -> None:
    connect(client, resolve_user=get_user)
    assert current.track("export_failed") is None
    client.shutdown()
    assert "no task is running" in errors[0].message


def test_flush_after_task_delivers_after_each_task(client: Whisperr, server: LocalServer) -> None:
    connect(client, resolve_user=get_user)
    run(export, user_id="ada")
    assert server.arrivals() == []
    connect(client, resolve_user=get_user, flush_after_task=60)
    run(export, user_id="grace")
    assert [a.user for a in server.arrivals()] == ["ada", "ada", "grace", "grace"]


def test_the_end_of_a_pool_process_shuts_down_and_later_calls_are_reported(
    client: Whisperr, server: LocalServer, errors: list[WhisperrError]
) -> None:
    connect(client, timeout=60)
    client.track("ada", "export_failed")
    signals.worker_process_shutdown.send(sender=None, pid=1, exitcode=0)
    assert len(server.arrivals()) == 1
    assert client.track("ada", "export_failed") is None
    client.shutdown()
    assert [error.reason for error in errors] == ["closed"]


def test_the_end_of_a_worker_flushes_and_the_client_stays(
    client: Whisperr, server: LocalServer
) -> None:
    connect(client, timeout=60)
    client.track("ada", "export_failed")
    signals.worker_shutdown.send(sender=None)
    assert len(server.arrivals()) == 1
    assert client.ready


def test_connecting_twice_calls_once(client: Whisperr) -> None:
    connect(client)
    connect(client, timeout=5)
    assert [len(signal.receivers or ()) for signal in SIGNALS] == [1, 1, 1]
    assert _connection.timeout == 5


def test_another_integration_connects_only_an_unconnected_process(client: Whisperr) -> None:
    connect_unless_connected(lambda: client)
    assert current.client is client
    other = Whisperr(disabled=True)
    connect_unless_connected(lambda: other)
    assert current.client is client


@pytest.mark.usefixtures("_no_client_of_the_process")
def test_without_a_client_it_is_one_from_the_environment(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect()  # flushes all clients, and needs no key itself
    with pytest.raises(ValueError, match="WHISPERR_API_KEY"):
        connect(resolve_user=get_user)
    monkeypatch.setenv("WHISPERR_API_KEY", "wrk_test")
    monkeypatch.setenv("WHISPERR_BASE_URL", server.url)
    connect(resolve_user=get_user)
    run(export, user_id="ada")
    assert current.client.shutdown()
    assert [a.user for a in server.arrivals()] == ["ada", "ada"]
