"""Any bytes, in any pieces: an answer within its bounds, or an error of the connection.

    python -m tests.http.test_response_fuzz --seconds 600 --seed 1

tries more for longer, as WHISPERR_FUZZ_CASES and WHISPERR_FUZZ_SEED do for the test. A failure
names the seed of its case, with which `--seed` begins.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import os
import sys
import time
import tracemalloc
import zlib
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from whisperr._http.response import begins_answer, read_answer

if TYPE_CHECKING:
    from collections.abc import Iterable

CASES = int(os.environ.get("WHISPERR_FUZZ_CASES", "200"))
SEED = int(os.environ.get("WHISPERR_FUZZ_SEED", "1"))
MOST_BODY = 64 * 1024
# The head and the body have 64 KiB each; what is received beyond them is one piece.
MOST_RECEIVED = 2 * 64 * 1024 + 2 * 16 * 1024
MOST_MEMORY = 2 * 1024 * 1024
ENDLESS = 40 * MOST_RECEIVED

STATUS_LINES = (
    b"HTTP/1.1 202 Accepted",
    b"HTTP/1.1 200",
    b"HTTP/1.0 413 Too Large",
    b"HTTP/1.1 204 No Content",
    b"HTTP/1.1 100 Continue",
    b"HTTP/1.1 101 Switching Protocols",
    b"HTTP/1.1 302 Found",
    b"HTTP/1.1 999 ?",
    b"HTTP/1.1 000 ?",
    b"HTTP/1.1 -12 ?",
    b"HTTP/1.1  202 Accepted",
    b"HTTP/1.1 \xb2\xb2\xb2 OK",
    b"HTTP/2 200",
    b"ICY 200 OK",
    b"",
)
HEADERS = (
    b"Content-Length: %d",
    b"Content-Length: 0%d",
    b"Content-Length: -%d",
    b"Content-Length: %d, %d",
    b"Content-Length: 99999999999999999999%d",
    b"Content-Length: \xb2",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"transfer-encoding: identity",
    b"Content-Encoding: gzip",
    b"Content-Encoding: deflate, gzip",
    b"Content-Encoding: br",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Location: https://other.example/\x1b[2J",
    b"no colon",
    b": no name",
    b" folded: yes",
    b"X-Nul: \x00",
    b"Retry-After: soon",
)
LINE_ENDS = (b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n")


class Network:
    """A connection that gives a payload in pieces, then its end, silence or a reset."""

    def __init__(self, random: Random, payload: bytes) -> None:
        self._random = random
        self._payload = memoryview(payload)  # so that a piece copies nothing but itself
        self._most = random.choice((1, 3, 200, 16 * 1024))
        self._end = random.choice((None, None, TimeoutError("silence"), ConnectionResetError()))
        # An endless server repeats its last piece.
        self._again = payload[-random.randrange(1, 5000) :] if random.random() < 0.1 else b""
        self.received = 0
        self.unread = bytearray()
        if random.random() < 0.2:  # received while the request was being sent
            self.unread += self._payload[: random.randrange(16 * 1024)]
            self._payload = self._payload[len(self.unread) :]
            begins_answer(self.unread)

    def receive(self, _deadline: float) -> bytes:
        if not self._payload and self._again and self.received < ENDLESS:
            self._payload = memoryview(self._again)
        if not self._payload:
            if self._end is not None:
                raise self._end
            return b""
        size = self._random.randint(1, self._most)
        piece, self._payload = self._payload[:size], self._payload[size:]
        self.received += len(piece)
        return bytes(piece)


def make_body(random: Random) -> bytes:
    size = random.choice((0, 2, 50, 3_000, 70_000, 200_000))
    kinds = (
        lambda: random.randbytes(size),
        lambda: b'{"accepted":1,"rejected":2}',
        lambda: gzip.compress(bytes(size * 30)),
        lambda: zlib.compress(gzip.compress(bytes(size * 30))),
        lambda: gzip.compress(b"{}")[: random.randrange(22)],
        lambda: make_chunks(random, random.randbytes(size)),
        lambda: make_chunks(random, gzip.compress(b'{"rejected":1}')),
    )
    return random.choice(kinds)()


def make_chunks(random: Random, body: bytes) -> bytes:
    """Return a body in chunks, some of which are wrong."""
    pieces: list[bytes] = []
    most = random.choice((1, 10, 5_000, 100_000))
    while body and len(pieces) < 3_000:
        size = random.randint(1, most)
        piece, body = body[:size], body[size:]
        length = b"%x" % len(piece)
        if random.random() < 0.02:
            wrong = (b"-1", b"0x5", b"f" * 5_000, b"", b"\xb2", b"%x" % (1 << 70), b"5 5")
            length = random.choice(wrong)
        note = random.choice((b"", b"", b";a=b", b" ", b";" + b"x" * random.randrange(3_000)))
        pieces.append(length + note + b"\r\n" + piece + random.choice(LINE_ENDS))
    trailers = b"X-Trailer: yes\r\n" * random.choice((0, 0, 1, 10_000))
    return b"".join(pieces) + b"0\r\n" + trailers + b"\r\n"


def make_payload(random: Random) -> bytes:
    if random.random() < 0.1:
        return random.randbytes(random.randrange(2_000))
    end = random.choice(LINE_ENDS)
    payload = b""
    for _ in range(random.choice((1, 1, 1, 2, 500))):  # answers, one after the other
        body = make_body(random)
        count = random.choice((0, 1, 2, 5, 4_000))
        lines = [random.choice(STATUS_LINES)]
        for header in random.choices(HEADERS, k=count):
            numbers = (len(body),) * header.count(b"%d")
            lines.append(header % numbers if numbers else header)
        if body[:2] == b"\x1f\x8b" and random.random() < 0.5:  # else few bodies fit their headers
            lines = [STATUS_LINES[0], b"Content-Encoding: gzip", b"Content-Length: %d" % len(body)]
        payload += end.join([*lines, b"", b""]) + body
        if len(payload) > MOST_RECEIVED * 2:
            break
    return damage(random, payload)


def damage(random: Random, payload: bytes) -> bytes:
    """Cut a payload, change some of its bytes, or return it unchanged."""
    choice = random.random()
    if choice < 0.3:
        return payload[: random.randrange(len(payload) + 1)]
    if choice < 0.6:
        damaged = bytearray(payload)
        for _ in range(random.randrange(8)):
            at = random.randrange(min(len(damaged), 400) + 1)
            damaged[at : at + random.randrange(3)] = random.randbytes(random.randrange(3))
        return bytes(damaged)
    return payload


def try_case(seed: int) -> None:
    """Read one generated answer; everything but an answer or an OSError is a failure."""
    random = Random(seed)
    network: Any = Network(random, make_payload(random))
    method = random.choice(("POST", "POST", "POST", "CONNECT"))
    early = random.random() < 0.2
    error: OSError | None = None
    body = b""
    measured = tracemalloc.is_tracing()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    try:
        answer, _ = read_answer(network, time.monotonic() + 60, method, early=early)
        body = answer.body
    except OSError as raised:
        error = raised
    _, peak = tracemalloc.get_traced_memory()
    assert len(str(error)) < 200, "the error repeats what was received"
    assert str(error).isprintable()
    assert len(body) <= MOST_BODY
    assert network.received <= MOST_RECEIVED, f"received {network.received} bytes"
    assert not measured or peak - before <= MOST_MEMORY, f"took {peak - before} bytes"


def try_cases(seeds: Iterable[int], until: float = float("inf")) -> int:
    """Try the cases of these seeds until a time (monotonic); return how many were tried.

    The memory of each tenth is measured, which takes ten times as long.
    """
    count = 0
    for seed in seeds:
        if time.monotonic() > until:
            break
        if seed % 10 == 0:
            tracemalloc.start()
        try:
            try_case(seed)
        except BaseException:
            say(f"to repeat it: python -m tests.http.test_response_fuzz --seed {seed}")
            raise
        finally:
            tracemalloc.stop()
        count += 1
    return count


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # for people who look for a failure


def test_any_bytes_are_an_answer_or_an_error_within_the_bounds() -> None:
    assert try_cases(range(SEED, SEED + CASES)) == CASES


def test_a_failing_case_names_its_seed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> int:
        raise RuntimeError("made up")

    monkeypatch.setattr(sys.modules[__name__], "make_payload", fail)
    with pytest.raises(RuntimeError, match="made up"):
        try_cases([7])
    assert "--seed 7\n" in capsys.readouterr().out


def main() -> int:
    """Try cases for some time."""
    parser = argparse.ArgumentParser(prog="python -m tests.http.test_response_fuzz")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    count = try_cases(itertools.count(given.seed), time.monotonic() + given.seconds)
    say(f"{count} answers, from seed {given.seed}: all as they should be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
