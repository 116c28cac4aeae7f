"""Addresses: what an http:// or https:// URL is made of, without the imports of `urllib`. Pure."""

from __future__ import annotations

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_DIGITS = frozenset("0123456789")
_IN_HOSTS = _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-")
_IN_ADDRESSES = _DIGITS | frozenset("abcdefABCDEF:.")
_DIGITS_OF_A_PORT = 5
_NOT_IN_PATHS = frozenset(" ?#")


def parse_url(url: str) -> tuple[str, str, int, str] | None:
    """Split an address into scheme, host, port and path; None when it is not one.

    By hand rather than with `urllib.parse`, which accepts line ends, or a pattern: both cost an
    import.
    """
    scheme, mark, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    if scheme not in {"http", "https"} or not mark:
        return None
    if not path.isascii() or not path.isprintable() or not _NOT_IN_PATHS.isdisjoint(path):
        return None
    if place.startswith("["):
        host, end, port = place[1:].partition("]")
        known = bool(end) and (not port or port.startswith(":")) and _IN_ADDRESSES.issuperset(host)
        port = port[1:] if len(port) != 1 else "?"
    else:
        host, colon, port = place.partition(":")
        known = _IN_HOSTS.issuperset(host)
        port = port or ("?" if colon else "")
    if not host or not known or not _DIGITS.issuperset(port) or len(port) > _DIGITS_OF_A_PORT:
        return None
    number = int(port or (443 if scheme == "https" else 80))
    return (scheme, host, number, (slash + path).rstrip("/")) if number < 65536 else None  # noqa: PLR2004  # TCP
