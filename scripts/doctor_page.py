"""Write the samples and the table of fixes of docs/trouble/doctor.md; a test compares them.

The samples are what the command prints here, against the local server; what differs from machine
to machine, such as versions and times, is replaced by usual values.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from whisperr import __version__
from whisperr._checkup.environment import IF_IT_RUNS_THERE
from whisperr._checkup.hints import HINTS
from whisperr._cli.main import main as run_command
from whisperr._events.event import EventEncoder
from whisperr._queue.log.file import make_directory
from whisperr._queue.sqlite.store import SQLiteStore
from whisperr._queue.store import LEASE
from whisperr.buffers import SQLiteBuffer
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).resolve().parent.parent / "docs" / "trouble" / "doctor.md"
MARK = "written by `python scripts/doctor_page.py`, compared by a test"
PARTS = ("well", "wrong", "fixes")
KEY = "wrk_sample"
STATES = {"wrong": "✗", "doubtful": "!"}
# What differs from run to run, and a usual value.
USUAL = {
    r"whisperr \d\S*, .*": "whisperr 1.0.0, CPython 3.12.8, OpenSSL 3.0.15, Linux",
    r"127\.0\.0\.1:\d+": "127.0.0.1:8722",
    r"\d+ ms": "2 ms",
    r"\d+ s (ahead of|behind)": "0 s behind",
    r"/\S*/whisperr-page-[^/]*?(/|(?= |\n))": r"/var/lib/app\1",
    r"[\d.]+ .B free": "41.3 GB free",
    r"\d+ bytes": "807 bytes",
}


@contextmanager
def _use_environment(**values: str) -> Iterator[None]:
    before = dict(os.environ)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def make_samples() -> dict[str, str]:
    """Return what the command prints when all is well, and when the key and the buffer are not."""
    with tempfile.TemporaryDirectory(prefix="whisperr-page-") as folder:
        buffer = f"sqlite:///{folder}/events.db"
        with LocalServer(api_key=KEY) as server:
            options = {"WHISPERR_BASE_URL": server.url, "WHISPERR_BUFFER": buffer}
            with _use_environment(WHISPERR_API_KEY=KEY, **options):
                well = _run()
            _leave_events(Path(folder, "events.db"))
            with _use_environment(WHISPERR_API_KEY="wrk_other", **options):
                wrong = _run()
    return {"well": well, "wrong": wrong}


def _leave_events(file: Path) -> None:
    at = datetime.now(timezone.utc) - timedelta(hours=5)
    encoder = EventEncoder(__version__)
    events = [encoder.encode("user_8842", "payment_failed", occurred_at=at)[1] for _ in range(3)]
    make_directory(SQLiteBuffer(file).log)
    with closing(SQLiteStore(str(file), "NORMAL", LEASE, 1_000, 1 << 20)) as store:
        store.append(events, 0)


def _run() -> str:
    """Run the command; return what a terminal shows, without the lines about installed hosts."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        run_command(["doctor"])
    text = out.getvalue()
    for pattern, usual in USUAL.items():
        text = re.sub(pattern, usual, text)
    lines = [line for line in text.splitlines() if IF_IT_RUNS_THERE not in line]
    return "\n".join(["$ whisperr doctor", *lines])


def make_table() -> str:
    """Return the table of fixes as Markdown."""
    lines = ["| check | | found | fix |", "|---|---|---|---|"]
    lines += [
        f"| {hint.check} | {STATES[hint.state]} | {_to_markdown(hint.when)} "
        f"| {_to_markdown(hint.fix)} |"
        for hint in HINTS.values()
    ]
    return "\n".join(lines)


def _to_markdown(text: str) -> str:
    """Return a text with its gaps in capitals, and without signs of Markdown."""
    text = re.sub(r"\{(\w+)\}", lambda gap: gap[1].upper(), text)
    return re.sub(r"([*<>|])", r"\\\1", text)


def make_page(text: str) -> str:
    """Return the page with current samples and table."""
    samples = make_samples()
    parts = {name: f"```text\n{samples[name]}\n```" for name in samples} | {"fixes": make_table()}
    for name in PARTS:
        start, end = f"<!-- {name}: {MARK} -->\n", f"<!-- /{name} -->"
        before, rest = text.split(start)
        text = f"{before}{start}\n{parts[name]}\n\n{end}{rest.split(end, 1)[1]}"
    return text


def main() -> int:
    """Write the page; with `--check` only return 1 when it differs from the code."""
    text = PAGE.read_text(encoding="utf-8")
    made = make_page(text)
    if "--check" in sys.argv:
        return int(made != text)
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
