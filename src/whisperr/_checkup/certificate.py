"""Reads the issuer of a certificate that is not trusted. Pure.

`ssl` decodes only certificates that it has verified, so this module reads the few fields up to the
issuer itself (RFC 5280, 4.1, in DER). The result is only shown; no decision depends on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_VERSION = 0xA0  # present in all but the oldest certificates
_LONG_FORM = 0x80
_MOST_LENGTH_BYTES = 4
# The attributes of a name to show, in this order: organisation, common name.
_WANTED = (b"\x55\x04\x0a", b"\x55\x04\x03")
_LONGEST_NAME = 100


def get_issuer(der: bytes) -> str | None:
    """Return the organisation of the issuer, else its common name; None if it cannot be read."""
    try:
        ((_, certificate),) = _read(der)
        (_, signed), *_ = _read(certificate)
        fields = [content for tag, content in _read(signed) if tag != _VERSION]
        _serial, _algorithm, issuer, *_ = fields
        pairs = [pair for _, part in _read(issuer) for _, pair in _read(part)]
        named = dict(_read_attribute(pair) for pair in pairs)
    except (IndexError, ValueError):
        return None
    found = next((named[one] for one in _WANTED if named.get(one)), None)
    return None if found is None else found[:_LONGEST_NAME].decode(errors="replace")


def _read_attribute(pair: bytes) -> tuple[bytes, bytes]:
    (_, kind), (_, value) = _read(pair)
    return kind, value


def _read(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tag and the content of each element; raises IndexError or ValueError."""
    at = 0
    while at < len(data):
        tag, size, at = data[at], data[at + 1], at + 2
        if size >= _LONG_FORM:
            count = size - _LONG_FORM
            if not 0 < count <= _MOST_LENGTH_BYTES:
                raise ValueError("a length that no certificate has")
            size, at = int.from_bytes(data[at : at + count], "big"), at + count
        if at + size > len(data):
            raise ValueError("an element that does not end")
        yield tag, data[at : at + size]
        at += size
