"""Parses http:// and https:// URLs without importing `urllib`. Pure."""

from __future__ import annotations

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_DIGITS = frozenset("0123456789")
_IN_HOSTS = _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-")
_IN_ADDRESSES = _DIGITS | frozenset("abcdefABCDEF:.")
_MAX_PORT_DIGITS = 5
_NOT_IN_PATHS = frozenset(" ?#")


def parse_url(url: str) -> tuple[str, str, int, str] | None:
    """Return scheme, host, port and path of a URL; None when it is not a valid one.

    Written by hand: `urllib.parse` accepts line ends, and both it and `re` cost an import.
    """
    scheme, mark, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    if scheme not in {"http", "https"} or not mark:
        return None
    if not path.isascii() or not path.isprintable() or not _NOT_IN_PATHS.isdisjoint(path):
        return None
    if authority.startswith("["):
        host, end, port = authority[1:].partition("]")
        valid = bool(end) and (not port or port.startswith(":")) and _IN_ADDRESSES.issuperset(host)
        port = port[1:] if len(port) != 1 else "?"
    else:
        host, colon, port = authority.partition(":")
        valid = _IN_HOSTS.issuperset(host)
        port = port or ("?" if colon else "")
    if not host or not valid or not _DIGITS.issuperset(port) or len(port) > _MAX_PORT_DIGITS:
        return None
    number = int(port or (443 if scheme == "https" else 80))
    return (scheme, host, number, (slash + path).rstrip("/")) if number < 65536 else None  # noqa: PLR2004  # TCP
