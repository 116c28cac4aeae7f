"""What can be seen of the environment in which a client runs: versions, proxy, threads, hosts.

Beside `_checkup`, which asks the network. Nothing here does.
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

_LIMIT = 5.0  # seconds for a thread to start
# Packages that decide how processes and threads begin and end, and what they ask for.
_HOSTS = {
    "celery": "children of its prefork pool end without Python's end: call shutdown() in "
    "worker_process_shutdown",
    "eventlet": "no test of whisperr covers it; see that events arrive",
    "gevent": "call monkey.patch_all() before the first event is tracked",
    "rq": "a job's process ends without Python's end: call flush() in the job",
    "uvicorn": "it ends by the signal that stops it: call ashutdown() in the lifespan",
    "uwsgi": "before 2.0.27 a background thread runs only with enable-threads = true; SIGTERM "
    "means reload unless hook-master-start says otherwise",
    "waitress": "it gives no hook on SIGTERM: use a smaller flush_interval",
}


def version_of(package: str) -> str | None:
    """Return the version of an installed package; None when it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def look_around(
    config: Config | None, version_of: Callable[[str], str | None] = version_of
) -> Iterator[Finding]:
    """Say what is there; `version_of` tells which packages are."""
    yield Finding(
        "versions",
        "ok",
        f"whisperr {__version__}, {platform.python_implementation()} "
        f"{platform.python_version()}, {ssl.OPENSSL_VERSION}, {platform.system()}",
    )
    if config is not None:
        yield _kind_of_key(config)
        yield _proxy(config)
    yield _threads()
    for package, advice in _HOSTS.items():
        found = version_of(package)
        if found is not None:
            yield Finding(
                f"{package} {found}", "doubtful", f"if the application runs in it: {advice}"
            )
    yield Finding(
        "end of a process",
        "ok",
        "delivers at the end of the program and on Ctrl-C; not on SIGTERM, unless it is handled",
    )


def _kind_of_key(config: Config) -> Finding:
    name = "kind of key"
    if config.key.is_publishable:
        return Finding(name, "doubtful", "wpk_, publishable, for apps; a backend needs wrk_")
    if config.key.reveal().startswith("wrk_"):
        return Finding(name, "ok", "wrk_, a server key")
    return Finding(name, "doubtful", "neither wrk_ nor wpk_: is it a key of whisperr?")


def _proxy(config: Config) -> Finding:
    parts = parse_url(config.base_url)
    proxy = None if parts is None else get_proxy(*parts[:3])
    if proxy is None:
        return Finding("proxy", "ok", "none for this address")
    place = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    shown = f"{place.scheme}://{place.hostname}:{place.port or 80}"
    if place.scheme != "http":
        return Finding("proxy", "wrong", f"{shown}: a proxy must be an http:// URL")
    return Finding("proxy", "ok", f"{shown}, from the environment")


def _threads() -> Finding:
    """Start a thread, as the first event does."""
    ran = threading.Event()
    try:
        threading.Thread(target=ran.set, daemon=True).start()
    except RuntimeError as error:
        return Finding("threads", "wrong", f"{error}: events wait for flush() or the exit")
    if not ran.wait(_LIMIT):
        return Finding("threads", "wrong", "a thread starts and does not run: is it uWSGI's?")
    return Finding("threads", "ok", "can be started")
