"""`whisperr doctor`: look for the reason why no events arrive, step by step."""

from __future__ import annotations

import json
import platform
import ssl
import sys
import threading
import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from whisperr import __version__
from whisperr._contract import BASE_URL
from whisperr._delivery.pipeline import resolve_buffer
from whisperr._foreign import printable
from whisperr._http.proxy import get_proxy
from whisperr._integrations.checkup import Finding, checkup
from whisperr._options import OPTIONS, Config, parse_url
from whisperr._secret import Secret
from whisperr._terminal import wants_colour

from .command import add_command

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

_SIGNS = {"ok": ("✓", "32"), "doubtful": ("!", "33"), "wrong": ("✗", "31"), "skipped": ("-", "2")}
_EXAMPLES = """\
  whisperr doctor
      with the environment of the application
  whisperr doctor --json | jq '.findings[] | select(.state == "wrong")'
      for programs
"""
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


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "doctor",
        _run,
        "look for the reason why no events arrive",
        "Check the versions, the key, the proxy, the host name, the encryption, "
        "whether the key is accepted, the round trip and the clock. Sends one request without "
        "events: nothing is stored. The key is read from WHISPERR_API_KEY. Ends with 1 when "
        "something is wrong.",
        _EXAMPLES,
    )
    parser.add_argument(
        "--base-url", metavar="URL", help="else WHISPERR_BASE_URL, else the service"
    )
    parser.add_argument(
        "--timeout", type=float, default=10.0, metavar="SECONDS", help="of a request (%(default)g)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _run(arguments: argparse.Namespace) -> int:
    found = []
    for finding in diagnose(arguments.base_url, arguments.timeout):
        found.append(finding)
        if not arguments.json:
            _print(finding)
    wrong = [one.name for one in found if one.state == "wrong"]
    if arguments.json:
        findings = [one._asdict() for one in found]
        print(json.dumps({"ok": not wrong, "findings": findings}, indent=2))
    elif wrong:
        print(f"wrong: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


def diagnose(
    base_url: str | None, timeout: float, ssl_context: ssl.SSLContext | None = None
) -> Iterator[Finding]:
    """Yield every finding; a wrong configuration is one of them."""
    options = {option.name: option.default for option in OPTIONS}
    options.update(api_key=Secret(None), base_url=base_url or BASE_URL)
    options.update(request_timeout=timeout, ssl_context=ssl_context)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the findings say the same
        try:
            config = resolve_buffer(Config(options))
        except ValueError as error:
            problem = str(error).partition("; to try it")[0]  # for a missing key: no ways around it
            yield from inspect_environment(None)
            yield Finding("configuration", "wrong", problem)
            return
    yield from inspect_environment(config)
    yield from checkup(config, measures=True)


def _print(finding: Finding) -> None:
    sign, colour = _SIGNS[finding.state]
    if wants_colour(sys.stdout):
        sign = f"\x1b[{colour}m{sign}\x1b[0m"
    print(f"{sign} {finding.name:<17} {printable(finding.text)}", flush=True)


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
    try:
        url = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host, port = url.hostname, url.port or 80
    except ValueError:  # its text would repeat a part of the URL, which may have a password
        host, port = None, 0
    if host is None:
        return Finding("proxy", "wrong", "its URL cannot be read: write it as http://host:port")
    address = f"{url.scheme}://{host}:{port}"
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
