"""The Celery integration: delivers the events of tasks before their worker process ends.

Example::

    from whisperr.celery import connect, current, from_argument

    app = Celery("shop")
    connect(resolve_user=from_argument("user_id"))

    @app.task
    def export(user_id):
        current.track("export_failed")

Celery ends its pool processes without running `atexit` functions, so that queued events would be
lost. `connect` delivers them by Celery's signals.

.. versionadded:: 1.0
"""

# Celery ends pool processes with `os._exit`; the signal `worker_process_shutdown` is the last thing
# that runs in them.

from __future__ import annotations

try:
    from celery import current_task, signals
except ModuleNotFoundError as _missing:
    if _missing.name != "celery":
        raise
    raise ImportError("whisperr.celery needs Celery: pip install 'whisperr[celery]'") from _missing

from inspect import signature
from typing import TYPE_CHECKING, Any

from ._integrations.client import get_client_factory, require_client
from ._integrations.client import get_environment_client as get_client
from ._integrations.flushing import flush_all
from ._integrations.tracker import UserTracker
from ._process.exit import EXIT_TIMEOUT, shutdown_all
from ._process.timeout import parse_timeout
from .errors import InvalidEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._client import Whisperr

__all__ = [
    "UserTracker",
    "connect",
    "connect_unless_connected",
    "current",
    "from_argument",
    "get_client",
]


class _Connection:
    """The arguments of `connect`."""

    def __init__(self) -> None:
        self.connected = False
        self.get_client: Callable[[], Whisperr] = get_client
        self.resolve_user: Callable[[Any], object] | None = None
        self.flush_after_task: float | None = None
        self.timeout = EXIT_TIMEOUT


_connection = _Connection()


def connect(
    client: Whisperr | Callable[[], Whisperr] | None = None,
    *,
    resolve_user: Callable[[Any], object] | None = None,
    flush_after_task: float | None = None,
    timeout: float | None = EXIT_TIMEOUT,
) -> None:
    """Deliver queued events when a worker's processes end, those of all clients in the process.

    Call it once, where you create the Celery application. A second call replaces the first.

    Args:
        client: The client of `current`, or a function that returns it. None: one client for the
            process, made from the environment.
        resolve_user: A function that takes the running task and returns the user's id, or None
            for no user. It is called when `current` tracks. `from_argument` makes the usual one.
        flush_after_task: Seconds that delivery may take after each task, for workers whose
            processes are killed. None: do not deliver after tasks.
        timeout: Seconds that delivery may take at the end of a process. None: until delivery
            succeeds or the retries are used up.

    Raises:
        MissingKey: There is a `resolve_user` and no `client`, and the environment has no key. It is
            a ValueError.
        TypeError: A time is not a number.
        ValueError: A time is negative or NaN, or a variable has a wrong value.
    """
    seconds = parse_timeout(timeout)
    after_task = None
    if flush_after_task is not None:
        after_task = parse_timeout(flush_after_task, "flush_after_task")
    if client is None and resolve_user is not None:
        require_client(client)
    _connection.get_client = get_client_factory(client)
    _connection.resolve_user = resolve_user
    _connection.flush_after_task = after_task
    _connection.timeout = seconds
    _connection.connected = True
    # Not weak, because nothing else refers to the receivers. With an id, so that a second call does
    # not connect them twice.
    for signal, receiver in (
        (signals.worker_process_shutdown, _process_ends),
        (signals.worker_shutdown, _worker_ends),
        (signals.task_postrun, _task_ends),
    ):
        signal.connect(receiver, weak=False, dispatch_uid=f"whisperr.celery.{receiver.__name__}")


def connect_unless_connected(client: Callable[[], Whisperr]) -> None:
    """Call `connect(client)`, unless `connect` was called before.

    For integrations that may be used together with Celery. They can see whether it is loaded
    without importing it.

    Example::

        if "celery" in sys.modules:
            from whisperr.celery import connect_unless_connected

            connect_unless_connected(get_client)

    Args:
        client: A function that returns the client.
    """
    if not _connection.connected:
        connect(client)


def from_argument(name: str) -> Callable[[Any], object]:
    """Return a `resolve_user` that reads an argument of the running task.

    It finds the argument whether the caller passed it by position or by name, or left it to its
    default. A task without such an argument has no user.

    Args:
        name: The name of the argument, such as `"user_id"`.

    Returns:
        A function for the parameter `resolve_user` of `connect`.
    """

    def resolve_user(task: Any) -> object:  # noqa: ANN401  # a task of Celery, which has no types
        request = task.request
        if name in request.kwargs:
            return request.kwargs[name]
        parameters = signature(task.run)
        if name not in parameters.parameters:
            return None
        bound = parameters.bind_partial(*request.args, **request.kwargs)
        bound.apply_defaults()
        return bound.arguments.get(name)

    return resolve_user


def _client() -> Whisperr:
    return _connection.get_client()


def _user() -> object:
    if _connection.resolve_user is None:
        raise InvalidEvent("external_user_id: connect() was given no resolve_user")
    if not current_task:
        raise InvalidEvent("external_user_id: no task is running")
    return _connection.resolve_user(current_task)


class _TaskTracker(UserTracker):
    """The tracker of the running task."""

    __slots__ = ()

    def _explain_no_user(self) -> str:
        return (
            f"the task {current_task.name} has no user, because resolve_user returned None (does "
            "the task have the argument that it reads?)"
        )


current: UserTracker = _TaskTracker(_client, _user)
"""The tracker of the running task, with `track`, `identify`, `user_id` and `client`."""


def _process_ends(**_: object) -> None:
    """Shut down and not only flush, so that events that are left are reported as lost."""
    shutdown_all(_connection.timeout)


def _worker_ends(**_: object) -> None:
    """Flush; the normal end of the process follows, and may deliver what is left."""
    flush_all(_connection.timeout)


def _task_ends(**_: object) -> None:
    if _connection.flush_after_task is not None:
        flush_all(_connection.flush_after_task)
