"""Tests a wheel as users get it: in an empty environment, without a package index."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import venv
import zipfile
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


def get_problems(wheel: Path) -> list[str]:
    """Return the problems of the files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = next(n for n in names if n.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    required = [li for li in lines if li.startswith("Requires-Dist:") and "extra ==" not in li]
    wrong = [f"a dependency: {line}" for line in required]
    links = re.findall(r"\]\(([^)]+)\)", "\n".join(lines))
    # The package page is no place from which a path leads to a file of the repository.
    wrong += [f"a relative link: {link}" for link in links if "://" not in link]
    wrong += [] if links else ["the README is missing"]
    wrong += [f"not ours: {n}" for n in names if not n.startswith(("whisperr/", "whisperr-"))]
    page = Path(__file__).resolve().parent.parent / "src" / "whisperr" / "dev" / "_web" / "static"
    wanted = ["whisperr/py.typed", "whisperr/dev/__init__.py"]
    wanted += [f"whisperr/dev/_web/static/{file.name}" for file in page.iterdir()]
    wrong += [f"missing: {n}" for n in wanted if n not in names]
    if not any(n.endswith("licenses/LICENSE") for n in names):
        wrong.append("missing: the LICENSE")
    return wrong


def run(*command: str) -> str:
    """Run a command for at most two minutes and return what it printed."""
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if ended.returncode:
        sys.exit(f"{' '.join(command)}\n{ended.stdout}{ended.stderr}")
    return ended.stdout.strip()


def main(wheel: Path) -> None:
    """Install the wheel, import it, deliver one event, fetch the page, call the command."""
    wrong = get_problems(wheel)
    if wrong:
        sys.exit("\n".join(wrong))
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
