"""The site of the documentation, built once for all workers of a run, and what its pages link."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from functools import cache
from html.parser import HTMLParser
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.docs.page import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Runs the build in a process that can neither open a connection nor start another program.
BUILD = """
import sys

def refuse(event, arguments):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}:
        raise SystemExit(f"the build uses the network: {event} {arguments}")
    if event in {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"}:
        raise SystemExit(f"the build starts a program: {event} {arguments}")

sys.addaudithook(refuse)
from scripts.documentation import main
sys.exit(main(["--output", sys.argv[1]]))
"""


class Built(NamedTuple):
    """A build of the site: the folder of its pages, and what Sphinx printed."""

    folder: Path
    output: str


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build the site, or take what another worker of this run has built."""
    for module in ("sphinx", "furo", "myst_parser", "sphinx_copybutton", "notfound"):
        pytest.importorskip(
            module, reason="Sphinx is missing: pip install -e '.[docs]', on Python 3.11 or newer"
        )
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with lock(shared / "site.lock"):
        log = shared / "site.log"
        if not log.exists():
            log.write_text(build(shared / "site"), encoding="utf-8")
    return Built(shared / "site", log.read_text(encoding="utf-8"))


def build(folder: Path) -> str:
    """Build the site and return what Sphinx printed, warnings included."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )
    return f"{done.stdout}\nstatus {done.returncode}\n"


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Let one worker of a run build while the others wait."""
    fcntl = pytest.importorskip("fcntl", reason="no locks of files on this platform")
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Link(NamedTuple):
    """An address in a page, its element, and whether a browser loads it by itself."""

    element: str
    address: str
    is_loaded: bool


class Page(HTMLParser):
    """The addresses, anchors and style sheets of a page."""

    # Of the elements whose address is fetched when the page is shown.
    LOADED = frozenset({"audio", "embed", "iframe", "img", "object", "script", "source", "video"})
    RELATIONS = frozenset(
        {"icon", "modulepreload", "preconnect", "prefetch", "preload", "stylesheet"}
    )

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[Link] = []
        self.anchors: set[str] = set()
        self.styles: list[str] = []
        self._in_style = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._in_style = tag == "style"
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        self.styles += [values["style"]] if "style" in values else []
        relations = set(values.get("rel", "").split())
        is_loaded = tag in self.LOADED or (tag == "link" and bool(relations & self.RELATIONS))
        for name in ("href", "src", "data", "poster", "action"):
            if name in values:
                self.links.append(Link(tag, values[name], is_loaded))
        for candidate in values.get("srcset", "").split(","):
            if candidate.strip():
                self.links.append(Link(tag, candidate.split()[0], is_loaded=True))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.styles.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "style":
            self._in_style = False


@cache
def read_page(path: Path) -> Page:
    """Return what a built page contains."""
    return Page(path.read_text(encoding="utf-8"))
