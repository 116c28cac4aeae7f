"""The page of the local server: static files of the package, sent with a strict policy.

The files are read once, at the first request. Only their paths are served.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from whisperr.dev._ingest.service import Response

PREFIX = "/_dev/page/"
_FOLDER = Path(__file__).with_name("static")

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    # The page sets text only as text; the browser refuses to parse text as markup.
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@cache
def get_pages() -> dict[str, Response]:
    """Return the response with each file, by its path."""
    files = (file for file in _FOLDER.iterdir() if file.suffix in _TYPES)
    pages = {
        f"{PREFIX}{file.name}": Response(200, file.read_bytes(), _HEADERS, _TYPES[file.suffix])
        for file in files
    }
    return {"/": pages[f"{PREFIX}index.html"], **pages}
