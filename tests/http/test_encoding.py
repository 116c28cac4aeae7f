"""Answers with a Content-Encoding, although requests ask for none."""

from __future__ import annotations

import gzip
import sys
import tracemalloc
import zlib

import pytest

from tests.http.raw_server import RawServer, answer, answers, ask
from whisperr._http.encoding import decode

BODY = b'{"accepted":1,"rejected":3}'
MOST = 64 * 1024


def deflate_raw(body: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(body) + deflater.flush()


@pytest.mark.parametrize(
    ("encodings", "body"),
    [
        ("", BODY),
        ("identity", BODY),
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("X-GZIP", gzip.compress(BODY, mtime=0)),
        (" gzip , ", gzip.compress(BODY, mtime=0)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", deflate_raw(BODY)),
        ("deflate, gzip", gzip.compress(zlib.compress(BODY), mtime=0)),
    ],
)
def test_an_encoding_is_removed(encodings: str, body: bytes) -> None:
    assert decode(body, encodings, MOST) == BODY


@pytest.mark.parametrize(
    ("encodings", "body"),
    [
        ("br", b"unknown"),
        ("gzip, br", gzip.compress(BODY, mtime=0)),
        ("gzip", b"not gzip"),
        ("gzip", b""),
        ("deflate", b"\xff\xff"),
        ("gzip, gzip, gzip", gzip.compress(BODY, mtime=0)),
        ("gzip," * 20_000, gzip.compress(BODY, mtime=0)),
        ("\x00", BODY),
    ],
)
def test_what_cannot_be_decoded_stays_as_it_is(encodings: str, body: bytes) -> None:
    assert decode(body, encodings, MOST) == body


def test_a_cut_body_is_decoded_as_far_as_it_goes() -> None:
    long = b"".join(b"%d," % number for number in range(9_000))
    decoded = decode(gzip.compress(long, mtime=0)[:5_000], "gzip", MOST)
    assert 1_000 < len(decoded) < len(long)
    assert long.startswith(decoded)


def test_a_small_body_that_becomes_huge_is_cut_and_takes_little_memory() -> None:
    bomb = gzip.compress(gzip.compress(bytes(50 << 20), mtime=0), mtime=0)
    assert len(bomb) < MOST
    tracemalloc.start()
    try:
        assert decode(bomb, "gzip", MOST) != bomb
        assert len(decode(bomb, "gzip, gzip", MOST)) == MOST
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20


def test_without_zlib_nothing_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zlib", None)
    body = gzip.compress(BODY, mtime=0)
    assert decode(body, "gzip", MOST) == body


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_an_encoded_answer_is_read_over_the_wire(encoding: str) -> None:
    body = gzip.compress(BODY, mtime=0) if encoding == "gzip" else zlib.compress(BODY)
    payload = answer("202 Accepted", body, f"Content-Encoding: {encoding}")
    with RawServer(answers(payload)) as server:
        got = ask(server)
    assert got.body == BODY
    assert server.requests[0].header("Accept-Encoding") == "identity"
