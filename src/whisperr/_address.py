"""Parses the address of the service, and explains what is wrong with text that is no address.

Pure. An error shows at most scheme, host and port. The rest may be a password, and the text may be
a key in the wrong place.
"""

from __future__ import annotations

ALLOWED_URL = "an http:// or https:// URL without whitespace, user, query or fragment"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_DIGITS = frozenset("0123456789")
_IN_HOSTS = _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-")
_IN_ADDRESSES = _DIGITS | frozenset("abcdefABCDEF:.")
_MAX_PORT_DIGITS = 5
_NOT_IN_PATHS = frozenset(" ?#")
_KEYS = ("wrk_", "wpk_")  # how keys begin
_AROUND = " \t\r\n\"'"  # what files of variables may leave around a value
_MAX_SCHEME_CHARS = 10


def parse_url(url: str) -> tuple[str, str, int, str] | None:
    """Return scheme, host, port and path of a URL; None if it is not valid.

    Scheme and host are returned in lower case. This is written by hand because `urllib.parse`
    accepts line ends, and because importing it, or `re`, takes time.
    """
    scheme, mark, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    scheme = scheme.lower()
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
    if number >= 65536:  # noqa: PLR2004  # TCP
        return None
    return scheme, host.lower(), number, (slash + path).rstrip("/")


def refuse_url(given: str) -> str:
    """Return the message for text that is not an address: the text, what is allowed, and a guess.

    For example `'localhost:80': must be ...; did you mean 'http://localhost:80'?`.
    """
    text = given.strip(_AROUND)
    scheme, mark, rest = text.partition("://") if "://" in text else ("", "", text)
    shown = None if "@" in given else _get_shown(scheme, rest)
    if shown is None:
        written = f"(a str of {len(given)} characters)" if given else "''"
        return f"{written}: must be {ALLOWED_URL}"
    meant = _get_meant(scheme, rest)
    cut = "" if f"{scheme}{mark}{shown}" == given else "…"
    path = "/…" if rest[len(shown) :].strip("/") else ""
    hint = f"; did you mean '{meant}://{shown}{path}'?" if meant else ""
    return f"'{scheme}{mark}{shown}{cut}': must be {ALLOWED_URL}{hint}"


def _get_shown(scheme: str, rest: str) -> str | None:
    """Return host and port; None if the text is hardly these, because it may be a secret."""
    authority = rest.partition("/")[0].partition("?")[0].partition("#")[0]
    host, colon, port = authority.partition(":")
    if parse_url(f"http://{authority}") is None:
        is_number = port.isascii() and port.isdigit()  # such as 65536, which is no port
        authority, colon = (authority, colon) if is_number else (host, "")
        if parse_url(f"http://{host}") is None:
            return None
    is_scheme = scheme.isascii() and scheme.isalpha() and len(scheme) <= _MAX_SCHEME_CHARS
    is_host = bool(colon) or "." in host or host in LOOPBACK  # else a word, perhaps a key
    is_likely = is_scheme if scheme else is_host
    return authority if is_likely and not authority.startswith(_KEYS) else None


def _get_meant(scheme: str, rest: str) -> str | None:
    """Return the scheme that makes the text a valid address; None if no scheme does."""
    if scheme:
        from difflib import get_close_matches

        scheme = next(iter(get_close_matches(scheme.lower(), ("https", "http"), n=1)), "")
    else:
        parts = parse_url(f"http://{rest}")
        scheme = "http" if parts and parts[1] in LOOPBACK else "https"
    return scheme if scheme and parse_url(f"{scheme}://{rest}") else None
