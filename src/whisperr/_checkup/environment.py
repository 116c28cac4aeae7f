"""Checks this machine and this environment: versions, threads, hosts that end processes."""

from __future__ import annotations

import platform
import ssl
import threading
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from whisperr import __version__
from whisperr._contract import PAGES_URL

from .findings import Finding, find

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

_START_TIMEOUT = 5.0  # seconds for a thread to start
IF_IT_RUNS_THERE = "installed; if your application runs in it"
_HANDLE_SIGTERM = (
    "SIGTERM ends its programs without Python's exit, so handle it as described in "
    f"{PAGES_URL}delivery/processes.md"
)
# Packages that start and end processes and threads, and what each of them requires.
_HOSTS = {
    "apscheduler": _HANDLE_SIGTERM,
    "celery": "processes of its prefork pool end without Python's exit, so call "
    "whisperr.celery.connect()",
    "eventlet": "whisperr is not tested with it, so check that events arrive",
    "gevent": "call monkey.patch_all() before the first event is tracked",
    "hypercorn": "with several workers it kills those that still deliver, so ignore SIGTERM in the "
    "module of the application",
    "prefect": "SIGTERM ends a program that calls a flow without Python's exit, so handle it as "
    f"described in {PAGES_URL}delivery/processes.md",
    "rq": "the process of a job ends without Python's exit, so call flush() in the job, or use the "
    f"worker class in {PAGES_URL}frameworks/queues.md",
    "temporalio": "SIGTERM ends a worker without Python's exit, so let its main coroutine wait for "
    f"it as described in {PAGES_URL}frameworks/workflows.md",
    "tornado": _HANDLE_SIGTERM,
    "uvicorn": "the signal that stops it also skips Python's exit, so wrap the application in "
    "whisperr.asgi.flush_on_shutdown",
    "uwsgi": "before 2.0.27 background threads run only with enable-threads = true; SIGTERM "
    "reloads it unless hook-master-start changes that",
    "waitress": _HANDLE_SIGTERM,
}


def inspect_machine() -> Iterator[Finding]:
    """Yield the versions, and whether threads can be started."""
    yield Finding(
        "versions",
        "ok",
        f"whisperr {__version__}, {platform.python_implementation()} "
        f"{platform.python_version()}, {ssl.OPENSSL_VERSION}, {platform.system()}",
    )
    yield _inspect_threads()


def inspect_hosts(
    get_version: Callable[[str], str | None] | None = None, connected: Container[str] = ()
) -> Iterator[Finding]:
    """Yield what installed hosts require of an application that runs in them.

    - `get_version`: returns the version of a package.
    - `connected`: the packages to which an integration connects its client by itself.
    """
    get_version = get_version or get_installed_version
    for package, hint in _HOSTS.items():
        found = get_version(package)
        if found is None:
            continue
        if package in connected:
            yield Finding(f"{package} {found}", "ok", "get_client() connects its client")
        else:  # a package that is installed says nothing about what this application runs in
            yield Finding(f"{package} {found}", "skipped", f"{IF_IT_RUNS_THERE}: {hint}")
    yield Finding(
        "end of a process",
        "ok",
        "delivers at exit and on Ctrl-C; on SIGTERM only if your program or server handles it",
    )


def get_installed_version(package: str) -> str | None:
    """Return the version of an installed package; None when it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _inspect_threads() -> Finding:
    """Start a thread, as the first event does."""
    ran = threading.Event()
    try:
        threading.Thread(target=ran.set, daemon=True).start()
    except RuntimeError as error:
        return find("threads_refused", f"{error}: events wait for flush() or the exit")
    if not ran.wait(_START_TIMEOUT):
        return find("threads_stopped", "a thread starts and does not run")
    return Finding("threads", "ok", "can be started")
