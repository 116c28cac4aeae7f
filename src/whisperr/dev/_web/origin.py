"""Which requests the local server answers: those to a loopback address, and none of other sites.

A browser tells in headers which page made a request, also without an Origin, as for an image.
Clients and tools send no such header. Pure.
"""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from whisperr._foreign import printable
from whisperr.dev._ingest.service import refuse

if TYPE_CHECKING:
    from email.message import Message

    from whisperr.dev._ingest.service import Response

_MAX_HEADER_CHARS = 64 * 1024
_MAX_SHOWN_CHARS = 60
_CLOSE = {"Connection": "close"}
# Values for requests of the page itself, and for addresses that the user typed.
_OWN_SITES = frozenset({"same-origin", "none"})
_LINK_TO_PAGE = ("GET", "/", "document")  # a link on another site may open the page


def check_head(method: str, path: str, headers: Message) -> Response | None:
    """Return the response that refuses a request because of its headers; None to answer it."""
    host, origin = headers.get("Host", ""), headers.get("Origin")
    if not _is_loopback(host):
        shown = printable(host, _MAX_SHOWN_CHARS)
        text = f"the host {shown!r} is not a loopback address; open the local server by one"
        return refuse(403, "host_not_loopback", text, _CLOSE)
    if origin is not None and origin != f"http://{host}":
        return refuse(
            403, "foreign_origin", "pages of other origins cannot use this server", _CLOSE
        )
    site = headers.get("Sec-Fetch-Site", "none").lower()
    kind = (method, path, headers.get("Sec-Fetch-Dest", "").lower())
    if site not in _OWN_SITES and kind != _LINK_TO_PAGE:
        return refuse(403, "foreign_site", "pages of other sites cannot use this server", _CLOSE)
    if sum(map(len, (*headers.keys(), *headers.values()))) > _MAX_HEADER_CHARS:
        text = f"more than {_MAX_HEADER_CHARS} bytes of headers"
        return refuse(431, "headers_too_large", text, _CLOSE)
    return None


def is_of_browser(headers: Message) -> bool:
    """Return whether a browser made the request, for a page or by itself, such as for an icon.

    Refused ones are not recorded: they do not come from a client, and a page of another site must
    not be able to fill the memory.
    """
    is_marked = "Origin" in headers or "Sec-Fetch-Site" in headers
    return is_marked or headers.get("User-Agent", "").startswith("Mozilla/")


def _is_loopback(host: str) -> bool:
    """Return whether a Host header names this machine by a loopback name or address."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    with suppress(ValueError):
        return ip_address(name).is_loopback
    return name == "localhost"
