"""The page for people: plain files of the package, served with a strict policy.

The files are read once, when the first page is asked for. Nothing else is ever read: a path
is looked up among their names.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from whisperr.dev._ingest.service import Reply

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
    # Text that arrives is only ever set as text: the browser refuses to make markup of any.
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def reply_for(path: str) -> Reply | None:
    """Return the file behind a path; None when there is none."""
    name = "index.html" if path == "/" else path.removeprefix(PREFIX)
    if path != "/" and not path.startswith(PREFIX):
        return None
    data = _files().get(name)
    if data is None:
        return None
    return Reply(200, data, _HEADERS, _TYPES[Path(name).suffix])


@cache
def _files() -> dict[str, bytes]:
    place = Path(__file__).with_name("static")
    return {file.name: file.read_bytes() for file in place.iterdir() if file.suffix in _TYPES}
