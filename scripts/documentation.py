"""Build the site of the documentation with warnings as errors, and serve it on loopback.

    python -m scripts.documentation                 # build/docs/html
    python -m scripts.documentation --serve --port 8000

Sphinx reads `docs/conf.py` and the docstrings. Nothing is fetched from the network.
"""

from __future__ import annotations

import argparse
import http.server
import shutil
import sys
import tempfile
import time
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "build" / "docs" / "html"
NEEDED = (3, 11)  # of Sphinx 9


def build(output: Path) -> int:
    """Build the site into a folder and return an exit status: 1 when Sphinx warned of anything."""
    from sphinx.cmd.build import build_main

    started = time.perf_counter()
    shutil.rmtree(output, ignore_errors=True)  # pages that were removed since
    with tempfile.TemporaryDirectory() as doctrees:  # what is kept hides warnings of the next build
        options = ["-q", "-W", "--keep-going", "-b", "html", "-d", doctrees]
        status: int = build_main([*options, str(ROOT / "docs"), str(output)])
    if status == 0:
        pages = len(list(output.rglob("*.html")))
        seconds = time.perf_counter() - started
        print(f"{pages} pages in {seconds:.1f} s, no warnings: {output / 'index.html'}")
    return status


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a site as its host would: a wrong address gets the page of the site for that."""

    def log_message(self, *_: object) -> None:
        """Print nothing: whoever reads the site sees what came."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send `404.html` for a path that does not exist."""
        page = Path(self.directory) / "404.html"
        if code != HTTPStatus.NOT_FOUND or not page.is_file():
            super().send_error(code, message, explain)
            return
        body = page.read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def make_server(folder: Path, port: int) -> http.server.ThreadingHTTPServer:
    """Return a server of a built site on loopback."""
    handler = partial(Handler, directory=str(folder))
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)


def serve(folder: Path, port: int) -> None:
    """Serve a built site until Ctrl-C."""
    with make_server(folder, port) as server:
        print(f"http://127.0.0.1:{server.server_port}/ (ends with Ctrl-C)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the site, and serve it if asked; return an exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the folder of the pages")
    parser.add_argument("--serve", action="store_true", help="serve the site on loopback")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--if-possible", action="store_true", help="succeed where Python is too old for Sphinx"
    )
    options = parser.parse_args(arguments)
    if sys.version_info < NEEDED:
        here = ".".join(map(str, sys.version_info[:2]))
        print(
            f"docs: NOT BUILT: Sphinx needs Python 3.11 or newer, and this is {here}; "
            "for the site: make clean docs PYTHON=python3.12",
            file=sys.stderr,
        )
        return 0 if options.if_possible else 1
    status = build(options.output)
    if status == 0 and options.serve:
        serve(options.output, options.port)
    return status


if __name__ == "__main__":
    sys.exit(main())
