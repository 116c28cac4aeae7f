"""What the first request of a process imports.

Where the main thread computes, the delivery thread waits for the interpreter lock again after each
file that it reads: some ten times for a module.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import whisperr
from tests.http.conftest import authority, encrypted  # noqa: F401  # fixtures
from tests.http.raw_server import RawServer, answer, answers
from tests.os_processes.program import BOUND

if TYPE_CHECKING:
    import trustme

    from tests.http.raw_server import Encrypted

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
for name in sys.argv[3:]:
    __import__(name)
from whisperr import Whisperr
client = Whisperr("wrk_test", base_url=sys.argv[2], flush_at=1, flush_interval=3600)
made = set(sys.modules)
client.track("u", "seat_removed")
assert client.flush(60)
print(*made)
print(*set(sys.modules) - made)
"""
NEVER = {"encodings.idna", "json", "logging", "signal", "stringprep", "unicodedata", "urllib"}
BY_SSL = {"base64", "re", "ssl", "struct"}
USUAL = answer(body=b'{"accepted": 1, "rejected": 0}')


def run(url: str, *before: str, **env: str) -> tuple[set[str], set[str]]:
    """Return the modules that a program has after it made a client, and those after a request."""
    package = str(Path(whisperr.__file__).parents[1])
    # Without site-packages, and without the warning of an address that is not encrypted.
    command = [sys.executable, "-I", "-S", "-W", "ignore", "-c", PROGRAM, package, url, *before]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
        env={**os.environ, **env},
    )
    assert (done.returncode, done.stderr) == (0, "")
    made, added = (set(line.split()) for line in done.stdout.splitlines())
    return made, added


@pytest.mark.skipif(
    sys.implementation.name == "pypy", reason="CPython: PyPy imports json with the package"
)
class TestImports:
    def test_an_answer_without_rejected_events_needs_no_json_and_a_host_no_codec(self) -> None:
        with RawServer(answers(USUAL)) as server:
            made, added = run(f"http://localhost:{server.port}")
        assert (made | added) & (NEVER | BY_SSL) == set()
        assert "whisperr._http.transport" in added
        assert len(server.requests) == 1

    def test_nor_does_one_over_tls(
        self,
        authority: trustme.CA,  # noqa: F811  # a fixture
        encrypted: Encrypted,  # noqa: F811  # likewise
        tmp_path: Path,
    ) -> None:
        file = tmp_path / "authority.pem"
        file.write_bytes(authority.cert_pem.bytes())
        with RawServer(encrypted("localhost", answers(USUAL))) as server:
            made, added = run(f"https://localhost:{server.port}", SSL_CERT_FILE=str(file))
        assert (made | added) & NEVER == set()
        assert "ssl" in added

    def test_a_proxy_needs_no_more_than_its_url_is_read_with(self) -> None:
        with RawServer(answers(USUAL)) as proxy:
            made, added = run("http://service.invalid", http_proxy=proxy.url, NO_PROXY="x.invalid")
        assert (made | added) & {"urllib.request", "http", "email", "json"} == set()
        assert len(proxy.requests) == 1

    def test_where_sockets_are_loaded_the_client_has_all_it_needs_when_it_is_made(self) -> None:
        with RawServer(answers(USUAL)) as server:
            made, added = run(f"http://localhost:{server.port}", "socket")
        assert [name for name in added if not name.startswith("_")] == []
        assert "whisperr._http.transport" in made
