"""Findings about the environment of a client: versions, proxy, threads, hosts.

Nothing here uses the network; `_integrations.checkup` does.
"""

from __future__ import annotations

import platform
import ssl
import threading
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from whisperr import __version__
from whisperr._http.proxy import get_proxy
from whisperr._integrations.checkup import Finding
from whisperr._url import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whisperr._options import Config

_START_TIMEOUT = 5.0  # seconds for a thread to start
# Packages that start and end processes and threads, and what each of them requires.
_HOSTS = {
    "celery": "children of its prefork pool end without Python's exit: call shutdown() in "
    "worker_process_shutdown",
    "eventlet": "no test of whisperr covers it; check that events arrive",
    "gevent": "call monkey.patch_all() before the first event is tracked",
    "rq": "a job's process ends without Python's exit: call flush() in the job",
    "uvicorn": "it ends by the signal that stops it: call ashutdown() in the lifespan",
    "uwsgi": "before 2.0.27 a background thread runs only with enable-threads = true; SIGTERM "
    "means reload unless hook-master-start says otherwise",
    "waitress": "it gives no hook on SIGTERM: use a smaller flush_interval",
}


def get_version(package: str) -> str | None:
    """Return the version of an installed package; None when it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def inspect_environment(
    config: Config | None, get_version: Callable[[str], str | None] = get_version
) -> Iterator[Finding]:
    """Yield the findings; `get_version` returns the version of an installed package."""
    yield Finding(
        "versions",
        "ok",
        f"whisperr {__version__}, {platform.python_implementation()} "
        f"{platform.python_version()}, {ssl.OPENSSL_VERSION}, {platform.system()}",
    )
    if config is not None:
        yield _inspect_key(config)
        yield _inspect_proxy(config)
    yield _inspect_threads()
    for package, hint in _HOSTS.items():
        found = get_version(package)
        if found is not None:
            yield Finding(
                f"{package} {found}", "doubtful", f"if the application runs in it: {hint}"
            )
    yield Finding(
        "end of a process",
        "ok",
        "delivers at the end of the program and on Ctrl-C; not on SIGTERM, unless it is handled",
    )


def _inspect_key(config: Config) -> Finding:
    name = "kind of key"
    if config.key.is_publishable:
        return Finding(name, "doubtful", "wpk_, publishable, for apps; a backend needs wrk_")
    if config.key.reveal().startswith("wrk_"):
        return Finding(name, "ok", "wrk_, a server key")
    return Finding(name, "doubtful", "neither wrk_ nor wpk_: is it a key of whisperr?")


def _inspect_proxy(config: Config) -> Finding:
    parts = parse_url(config.base_url)
    proxy = None if parts is None else get_proxy(*parts[:3])
    if proxy is None:
        return Finding("proxy", "ok", "none for this address")
    url = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    address = f"{url.scheme}://{url.hostname}:{url.port or 80}"
    if url.scheme != "http":
        return Finding("proxy", "wrong", f"{address}: a proxy must be an http:// URL")
    return Finding("proxy", "ok", f"{address}, from the environment")


def _inspect_threads() -> Finding:
    """Start a thread, as the first event does."""
    ran = threading.Event()
    try:
        threading.Thread(target=ran.set, daemon=True).start()
    except RuntimeError as error:
        return Finding("threads", "wrong", f"{error}: events wait for flush() or the exit")
    if not ran.wait(_START_TIMEOUT):
        return Finding("threads", "wrong", "a thread starts and does not run: is it uWSGI's?")
    return Finding("threads", "ok", "can be started")
