"""Which requests the local server answers: those to a loopback address, and none of other sites.

A browser says itself whose page made a request; without an Origin too, such as for an image.
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
# What a browser sends with requests of the page itself, and with those that the user typed.
_OWN_SITES = frozenset({"same-origin", "none"})
_LINK_TO_PAGE = ("GET", "/", "document")  # a link on another site may open the page


def check_head(method: str, path: str, headers: Message) -> Response | None:
    """Return the response that refuses a request by its headers; None for one that is answered."""
    host, origin = headers.get("Host", ""), headers.get("Origin")
    if not _is_loopback(host):
        shown = printable(host, _MAX_SHOWN_CHARS)
        text = f"the host {shown!r} is no loopback address; open the local server by one"
        return refuse(403, "host_not_loopback", text, _CLOSE)
    if origin is not None and origin != f"http://{host}":
        return refuse(403, "foreign_origin", "pages of other origins may not call", _CLOSE)
    site = headers.get("Sec-Fetch-Site", "none").lower()
    kind = (method, path, headers.get("Sec-Fetch-Dest", "").lower())
    if site not in _OWN_SITES and kind != _LINK_TO_PAGE:
        return refuse(403, "foreign_site", "pages of other sites may not call", _CLOSE)
    if sum(map(len, (*headers.keys(), *headers.values()))) > _MAX_HEADER_CHARS:
        text = f"more than {_MAX_HEADER_CHARS} bytes of headers"
        return refuse(431, "headers_too_large", text, _CLOSE)
    return None


def is_of_browser(headers: Message) -> bool:
    """Return whether a browser made a request, for a page or by itself, such as for an icon.

    A refused one is not recorded: it is no request of a client, and a page of another site must
    not fill the memory.
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
