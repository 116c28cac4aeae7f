"""Tests a wheel as users get it: in an empty environment, without a package index."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

# Imports the package, delivers one event to the local server, and prints foreign modules that were
# loaded. Runs with -I: no environment variables, no current directory.
PROGRAM = """
import sys
import urllib.request
before = set(sys.modules)
import whisperr
from whisperr.dev import LocalServer

with LocalServer() as server, whisperr.Whisperr("wrk_smoke", base_url=server.url) as client:
    client.track("user_1", "payment_failed", {"amount_cents": 4900})
    assert client.flush(10), client.stats()
    assert [arrival.status for arrival in server.arrivals()] == ["accepted"], server.arrivals()
    for path in ("/", "/_dev/page/page.js", "/_dev/page/page.css", "/_dev/page/icon.svg"):
        with urllib.request.urlopen(server.url + path, timeout=30) as answer:
            assert answer.status == 200 and len(answer.read()) > 200, path
loaded = {name.split(".")[0] for name in set(sys.modules) - before}
print(sorted(loaded - set(sys.stdlib_module_names) - {"whisperr"}))
"""


def run(*command: str) -> str:
    """Run a command for at most two minutes and return what it printed."""
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if ended.returncode:
        sys.exit(f"{' '.join(command)}\n{ended.stdout}{ended.stderr}")
    return ended.stdout.strip()


def main(wheel: Path) -> None:
    """Install the wheel, import it, deliver one event, fetch the page, call the command."""
    with tempfile.TemporaryDirectory() as home:
        venv.create(home, with_pip=True)
        bin_ = Path(home) / "bin"
        python = str(bin_ / "python")
        run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel))
        run(python, "-I", "-c", "import whisperr")
        foreign = run(python, "-I", "-c", PROGRAM)
        if foreign != "[]":
            sys.exit(f"modules of others were loaded: {foreign}")
        version = run(str(bin_ / "whisperr"), "--version")
        run(python, "-I", "-m", "whisperr", "--help")
    done = "installs alone, imports, delivers, serves the page"
    print(f"{wheel.name}: {done}; the command says {version!r}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
