"""Causes every fault of docs/trouble/symptoms.md, and writes the log lines of that page.

    python -m scripts.symptoms            # all faults, and the page
    python -m scripts.symptoms tls dns    # some, without the page
    python -m scripts.symptoms --source /elsewhere/src    # of another version, without the page

Each fault meets a program of its own, with the default options, that tracks 20 events. The table
has the seconds until the first record, and the record. All is on loopback; what is missing here,
such as a Redis client, is named. Needs the extra `test`, and root for the full disk.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the servers are those of the tests

from tests.http.test_connector import (  # noqa: E402  # the path comes first
    black_hole,
    get_closed_address,
)

from whisperr import Whisperr  # noqa: E402  # likewise
from whisperr.dev import Fault, LocalServer, faults  # noqa: E402  # likewise

PAGE = ROOT / "docs" / "trouble" / "symptoms.md"
MARK = re.compile(r"<!-- record: (\w+) -->\n.*?<!-- /record -->", re.DOTALL)
DAY = 86_400
# Longer than version 0.2.1 or any earlier state took for its first record.
LIMIT = 150.0
_MOST_ROOM = "1m"
_NO_RECORD = "no record"

PROGRAM = """\
import json, logging, os, socket, sys, threading, time

given = json.loads(sys.argv[1])
seen, began = threading.Event(), time.monotonic()

class Show(logging.Handler):
    def emit(self, record):
        if record.levelno < logging.WARNING:
            return
        print(json.dumps([time.monotonic() - began, record.getMessage()]), flush=True)
        if given["until"] in record.getMessage():
            seen.set()

logging.getLogger().addHandler(Show())
if given["unknown_host"]:
    def resolve(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    socket.getaddrinfo = resolve
from whisperr import Whisperr
client = Whisperr("wrk_symptoms", **given["options"])
for number in range(given["events"]):
    client.track("u1", "signed_up", {"n": number, "x": "x" * given["size"]})
if given["ends"]:
    client.shutdown(given["ends"])
seen.wait(given["limit"])
os._exit(0)
"""


class Scene(NamedTuple):
    """What the program of a fault gets: options of its client, and variables of its environment.

    - `until`: text of the record that ends it. `ends`: the time limit of a shutdown, 0 for none.
    """

    options: dict[str, Any]
    environment: dict[str, str] = {}  # noqa: RUF012  # a default that nothing changes
    until: str = ""
    unknown_host: bool = False
    events: int = 20
    size: int = 0
    ends: float = 0.0


class Outcome(NamedTuple):
    """What a fault led to: the seconds until its first record, and that record."""

    seconds: float | None
    record: str


Start = Callable[[], AbstractContextManager[Scene]]


class Symptom(NamedTuple):
    """A fault: its name in the table, and how it is caused."""

    title: str
    start: Start


def serve(*given: Fault, path: str = "") -> Start:
    """Return the start of the local server with faults."""

    @contextmanager
    def start() -> Iterator[Scene]:
        with LocalServer(faults=given) as server:
            yield Scene({"base_url": server.url + path})

    return start


class Fixed(BaseHTTPRequestHandler):
    """Gives every request the same answer."""

    protocol_version = "HTTP/1.1"
    status = 200
    body = b""
    kind = "application/json"
    ahead = 0  # seconds by which its clock is ahead of ours

    def do_POST(self) -> None:  # the name that the library looks for
        """Read the request, and answer."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.status)
        self.send_header("Content-Type", self.kind)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_CONNECT = do_POST  # noqa: N815  # likewise

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the Date header."""
        return formatdate((timestamp or time.time()) + self.ahead, usegmt=True)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class Silent(socketserver.BaseRequestHandler):
    """Accepts connections, and never answers."""

    def handle(self) -> None:
        """Wait until the client closes the connection."""
        with suppress(OSError):
            while self.request.recv(65_536):
                pass


class Untrusted(socketserver.BaseRequestHandler):
    """Serves TLS with a certificate of an authority that no client has."""

    context: ssl.SSLContext

    def handle(self) -> None:
        """Do the handshake, as far as the client goes on with it."""
        with suppress(OSError):
            self.context.wrap_socket(self.request, server_side=True).close()


class Server(socketserver.ThreadingTCPServer):
    """Listens on loopback; connections that are open at the end do not keep it."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Ignore it: the program of a fault ends amid its requests."""


@contextmanager
def listen(handler: type[socketserver.BaseRequestHandler], **facts: object) -> Iterator[int]:
    """Serve with this handler, and return the port; `facts` become attributes of the handler."""
    with Server(("127.0.0.1", 0), type("Handler", (handler,), facts)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(10)


def answer_always(**facts: object) -> Start:
    """Return the start of a server that gives each request this answer."""

    @contextmanager
    def start() -> Iterator[Scene]:
        with listen(Fixed, **facts) as port:
            yield Scene({"base_url": f"http://127.0.0.1:{port}"})

    return start


def refuse_by_clock(days: int) -> Start:
    """Return the start of a server that refuses events, and whose clock is so far from ours."""
    return answer_always(status=400, body=b'{"error":"invalid_event"}', ahead=days * DAY)


@contextmanager
def own_authority() -> Iterator[Scene]:
    """Serve TLS with a certificate of an authority that the client does not know."""
    import trustme

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with listen(Untrusted, context=context) as port:
        yield Scene({"base_url": f"https://localhost:{port}"})


@contextmanager
def proxy_refuses() -> Iterator[Scene]:
    """Run a proxy that refuses every tunnel."""
    with listen(Fixed, status=403) as port:
        yield through_proxy(port)


@contextmanager
def proxy_away() -> Iterator[Scene]:
    """Name a proxy where nothing listens."""
    yield through_proxy(get_closed_address()[1])


def through_proxy(port: int) -> Scene:
    """Return a scene whose environment names a proxy on this port."""
    url = f"http://127.0.0.1:{port}"
    return Scene({"base_url": "https://collect.example"}, {"HTTPS_PROXY": url, "NO_PROXY": ""})


@contextmanager
def unknown_host() -> Iterator[Scene]:
    """Name a host that the resolver does not know."""
    yield Scene({"base_url": "https://collect.example"}, {"NO_PROXY": "*"}, unknown_host=True)


@contextmanager
def silence() -> Iterator[Scene]:
    """Accept connections and never answer."""
    with listen(Silent) as port:
        yield Scene({"base_url": f"http://127.0.0.1:{port}"})


@contextmanager
def firewall() -> Iterator[Scene]:
    """Have an address that answers no connection, as behind a firewall that drops packets."""
    with black_hole() as hole:
        port = hole.getsockname()[1]
        yield Scene({"base_url": f"http://127.0.0.1:{port}"})


@contextmanager
def closed_port() -> Iterator[Scene]:
    """Name a port where nothing listens."""
    yield Scene({"base_url": f"http://127.0.0.1:{get_closed_address()[1]}"})


@contextmanager
def full_disk() -> Iterator[Scene]:
    """Keep events in a SQLite file on a volume without room."""
    with (
        tempfile.TemporaryDirectory() as folder,
        volume(Path(folder)),
        serve(faults.status(503))() as scene,
    ):
        buffer = f"sqlite:///{folder}/events.db"
        options = {**scene.options, "buffer": buffer}
        with Whisperr("wrk_symptoms", **options):
            pass  # makes the file, while there is room
        yield scene._replace(options=options, until="in memory only", events=2_000, size=1_000)


@contextmanager
def volume(folder: Path) -> Iterator[None]:
    """Mount a small volume in this folder; raises LookupError where that is not permitted."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_MOST_ROOM},mode=700", "none", str(folder)]
    with suppress(OSError):
        if subprocess.run(mount, capture_output=True, check=False, timeout=30).returncode == 0:
            try:
                yield
            finally:
                subprocess.run(["umount", "-l", str(folder)], check=True, timeout=30)
            return
    raise LookupError("mount: not permitted")


@contextmanager
def redis_away() -> Iterator[Scene]:
    """Keep events in a Redis that is not there."""
    port = get_closed_address()[1]
    with LocalServer() as server:
        yield Scene({"base_url": server.url, "buffer": f"redis://127.0.0.1:{port}/0"})


@contextmanager
def full_queue() -> Iterator[Scene]:
    """Track more than the queue holds while the service is away."""
    with closed_port() as scene:
        options = {**scene.options, "max_queue_size": 100}
        yield scene._replace(options=options, events=500, until="queue_full")


@contextmanager
def short_script() -> Iterator[Scene]:
    """End a script while the service is away."""
    with closed_port() as scene:
        yield scene._replace(events=3, ends=2.0, until="(shutdown)")


SYMPTOMS: dict[str, Symptom] = {
    "key": Symptom("wrong key", answer_always(status=401, body=b'{"error":"invalid_api_key"}')),
    "error_500": Symptom("the service answers 500", serve(faults.status(500))),
    "tls": Symptom("authority of your own", own_authority),
    "proxy_403": Symptom("the proxy refuses (403)", proxy_refuses),
    "proxy_away": Symptom("the proxy is away", proxy_away),
    "dns": Symptom("DNS does not know the name", unknown_host),
    "hang": Symptom("the service does not answer", silence),
    "firewall": Symptom("a firewall drops the packets", firewall),
    "refused": Symptom("connection refused", closed_port),
    "redirect": Symptom(
        "a redirect", serve(faults.status(307, location="https://collect.example/v1/events/batch"))
    ),
    "rate_limit": Symptom("too many requests (429)", serve(faults.status(429))),
    "clock_behind": Symptom("clock 40 days behind", refuse_by_clock(40)),
    "clock_ahead": Symptom("clock 40 days ahead", refuse_by_clock(-40)),
    "wrong_path": Symptom("wrong path in base_url (404)", serve(path="/api")),
    "web_page": Symptom(
        "a web page answers", answer_always(kind="text/html", body=b"<html>Please sign in")
    ),
    "full_disk": Symptom("disk full", full_disk),
    "redis_away": Symptom("Redis away", redis_away),
    "full_queue": Symptom("the queue is full", full_queue),
    "short_script": Symptom("a script ends", short_script),
}


def run(
    symptom: Symptom,
    options: Mapping[str, object] = {},
    source: Path = ROOT / "src",
    limit: float = LIMIT,
) -> Outcome:
    """Cause the fault for a program that uses the package of this folder, with these options.

    Raises LookupError or ImportError when something that it needs is missing.
    """
    with symptom.start() as scene:
        given = {**scene._asdict(), "limit": limit, "options": {**scene.options, **options}}
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("WHISPERR_") and not name.lower().endswith("_proxy")
        }
        environment |= {"PYTHONPATH": str(source), "PYTHONWARNINGS": "ignore", **scene.environment}
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM, json.dumps(given)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=limit + 60,
            check=False,
        )
    if ended.returncode:
        raise LookupError(f"the program failed: {ended.stderr.strip().splitlines()[-1:]}")
    for line in ended.stdout.splitlines():
        seconds, record = json.loads(line)
        if scene.until in record:
            return Outcome(seconds, record)
    return Outcome(None, _NO_RECORD)


def normalise(record: str) -> str:
    """Return a record without what differs from run to run: ports, waits, counts, paths."""
    for pattern, text in (
        (r"(127\.0\.0\.1|localhost):\d+", r"\1:4040"),
        (r" injected_fault", ""),
        (r"within [\d.]+ s", "within 10 s"),
        (r"next attempt in [\d.]+ s", "next attempt in 1 s"),
        (r"/\S*/events\.db", "/var/lib/app/events.db"),
        (r"\b\d+ events?\b", "20 events"),
        (r"certificate verify failed: [^)]*", "certificate verify failed: self-signed certificate"),
    ):
        record = re.sub(pattern, text, record)
    return record


def write_page(outcomes: dict[str, Outcome]) -> None:
    """Write the records of these faults into the page."""

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name not in outcomes:
            return match[0]
        line = normalise(outcomes[name].record)
        return f"<!-- record: {name} -->\n```text\n{line}\n```\n<!-- /record -->"

    PAGE.write_text(MARK.sub(replace, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def main() -> int:
    """Cause the faults, print the table, write the page."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("names", nargs="*", choices=[*SYMPTOMS, []], metavar="fault")
    parser.add_argument("--source", type=Path, help="the `src` of another version")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for a first record")
    given = parser.parse_args()
    outcomes: dict[str, Outcome] = {}
    print("| fault | seconds to the first record | record |\n|---|---|---|")
    for name in given.names or SYMPTOMS:
        title = SYMPTOMS[name].title
        try:
            outcome = run(SYMPTOMS[name], {}, given.source or ROOT / "src", given.limit)
        except (LookupError, ImportError) as missing:
            print(f"| {title} | | not run: {missing} |", flush=True)
            continue
        outcomes[name] = outcome
        seconds = "" if outcome.seconds is None else f"{outcome.seconds:.1f}"
        print(f"| {title} | {seconds} | {outcome.record} |", flush=True)
    if not given.names and given.source is None:
        write_page(outcomes)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
