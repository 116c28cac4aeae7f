"""The Celery integration: delivers what tasks track before their process ends.

    from whisperr.celery import connect, current, from_argument

    app = Celery("shop")
    connect(resolve_user=from_argument("user_id"))

    @app.task
    def export(user_id):
        current.track("export_failed")

Celery ends its pool processes with `os._exit`, which runs no `atexit` functions; the signal
`worker_process_shutdown` is the last that runs. The guide is docs/frameworks/celery.md.
"""

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
    """What `connect` was given."""

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
    """Deliver when a worker's processes end, all clients of the process together.

    - `client`: what `current` tracks with: a client or a function that returns one. None: one for
      the process, made from the environment.
    - `resolve_user`: a function that takes the running task and returns the user's id, None for
      none; called when `current` tracks. `from_argument` makes the usual one.
    - `flush_after_task`: how many seconds delivery may take after each task, for workers whose
      processes are killed. None: no delivery there.
    - `timeout`: how many seconds delivery may take at the end of a process.

    Call it where the Celery application is made. A second call replaces the first. Raises
    ValueError when there is a resolver and neither a client nor a key in the environment, and for
    a time that is negative; TypeError for one that is no number.
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
    # Not weak: nothing else refers to them. With an id: a second call connects nothing twice.
    for signal, receiver in (
        (signals.worker_process_shutdown, _process_ends),
        (signals.worker_shutdown, _worker_ends),
        (signals.task_postrun, _task_ends),
    ):
        signal.connect(receiver, weak=False, dispatch_uid=f"whisperr.celery.{receiver.__name__}")


def connect_unless_connected(client: Callable[[], Whisperr]) -> None:
    """Do what `connect(client)` does, unless `connect` was called before.

    For integrations that may be used together with Celery. They need not import it to know that:

        if "celery" in sys.modules:
            from whisperr.celery import connect_unless_connected

            connect_unless_connected(get_client)

    Further calls do nothing.
    """
    if not _connection.connected:
        connect(client)


def from_argument(name: str) -> Callable[[Any], object]:
    """Return a `resolve_user` that reads an argument of the running task by its name.

    It does not matter whether the task was called with it by position or by name, or has it by
    default. A task without such an argument has no user.
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
    """The tracker of whichever task is running."""

    __slots__ = ()

    def _explain_no_user(self) -> str:
        return (
            f"the task {current_task.name} has no user, because resolve_user returned None (does "
            "the task have the argument that it reads?)"
        )


current: UserTracker = _TaskTracker(_client, _user)
"""The tracker of the running task: `track`, `identify`, `user_id`, and its `client`."""


def _process_ends(**_: object) -> None:
    """Shut down, not only flush: what is left would be lost without a report."""
    shutdown_all(_connection.timeout)


def _worker_ends(**_: object) -> None:
    """Flush: the normal end of the process follows, which may still deliver what is left."""
    flush_all(_connection.timeout)


def _task_ends(**_: object) -> None:
    if _connection.flush_after_task is not None:
        flush_all(_connection.flush_after_task)
