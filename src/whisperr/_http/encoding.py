"""Decodes the body of an answer (RFC 9110, 8.4) to a bounded size. Pure.

Requests ask for unencoded answers, but some proxies compress them all the same.
"""

from __future__ import annotations

from whisperr._process.imports import first_use

_GZIP = ("gzip", "x-gzip")
_DEFLATE = "deflate"
_MAX_ENCODINGS = 2  # of one body; the service uses none, a proxy one
_GZIP_OR_ZLIB = 32 + 15  # `wbits` of zlib
_RAW_DEFLATE = -15


def decode(body: bytes, encodings: str, most: int) -> bytes:
    """Return the decoded body, cut at `most` bytes.

    `encodings` is the Content-Encoding header. A body that cannot be decoded is returned as it is.
    """
    names = [name.strip().lower() for name in encodings.split(",", _MAX_ENCODINGS + 1)]
    names = [name for name in names if name not in {"", "identity"}]
    if not names or len(names) > _MAX_ENCODINGS or not {*_GZIP, _DEFLATE}.issuperset(names):
        return body
    decoded: bytes | None = body
    for name in reversed(names):
        if decoded is not None:
            decoded = _inflate(decoded, name, most)
    return body if decoded is None else decoded


def _inflate(body: bytes, name: str, most: int) -> bytes | None:
    """Return the body without one encoding, truncated if it is; None if it is malformed."""
    inflated = _inflate_as(_GZIP_OR_ZLIB, body, most)
    if inflated is None and name == _DEFLATE:
        # RFC 9110, 8.4.1.2, wants the zlib format; some servers send raw deflate.
        inflated = _inflate_as(_RAW_DEFLATE, body, most)
    return inflated


def _inflate_as(format_: int, body: bytes, most: int) -> bytes | None:
    try:
        with first_use():
            import zlib
    except ImportError:  # Python can be built without it
        return None
    try:
        return zlib.decompressobj(format_).decompress(body, most)
    except zlib.error:
        return None
