"""The page of the local server: static files of the package, sent with a strict policy.

The files are read once, with the first request for one. A path is only looked up among their
names, so nothing else is ever read.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from whisperr.dev._ingest.service import Response

PREFIX = "/_dev/page/"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    # The page only ever sets text as text; the browser refuses to parse any as markup.
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def get_page(path: str) -> Response | None:
    """Return the response with the file of a path; None when there is none."""
    name = "index.html" if path == "/" else path.removeprefix(PREFIX)
    if path != "/" and not path.startswith(PREFIX):
        return None
    data = _files().get(name)
    if data is None:
        return None
    return Response(200, data, _HEADERS, _TYPES[Path(name).suffix])


@cache
def _files() -> dict[str, bytes]:
    folder = Path(__file__).with_name("static")
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix in _TYPES}
