"""The TLS context that the clients of a process share."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.http.raw_server import (
    KEY,
    LIMIT,
    OK,
    REQUEST,
    Connection,
    RawServer,
    answers,
    make_transport,
)
from whisperr._http.tls import get_default_context
from whisperr._http.transport import HttpTransport
from whisperr._secret import Secret

if TYPE_CHECKING:
    from pathlib import Path

    import trustme

    from tests.http.raw_server import Encrypted


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file that the environment names for the authorities."""
    path = tmp_path / "authorities.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


def trust(file: Path, authority: trustme.CA) -> None:
    file.write_bytes(authority.cert_pem.bytes())


def make_authority() -> trustme.CA:
    made: trustme.CA = pytest.importorskip("trustme", reason="trustme: not installed").CA()
    return made


def send(port: int, context: ssl.SSLContext | None = None) -> int:
    url = f"https://localhost:{port}"
    with closing(HttpTransport(url, Secret(KEY), ssl_context=context)) as transport:
        return transport.send(REQUEST, LIMIT).status


class TestOneContext:
    def test_clients_share_it(self, file: Path, authority: trustme.CA) -> None:
        trust(file, authority)
        assert get_default_context() is get_default_context()

    def test_threads_that_need_it_at_once_get_the_same_one(
        self, file: Path, authority: trustme.CA
    ) -> None:
        trust(file, authority)
        start, found = threading.Barrier(8), list[ssl.SSLContext]()

        def get() -> None:
            start.wait(LIMIT)
            found.append(get_default_context())

        threads = [threading.Thread(target=get) for _ in range(8)]
        for one in threads:
            one.start()
        for one in threads:
            one.join(LIMIT)
        assert len(found) == 8
        assert set(found) == {get_default_context()}

    @pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"])
    def test_another_one_is_made_when_the_environment_names_something_else(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
    ) -> None:
        before = get_default_context()
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
        during = get_default_context()
        monkeypatch.undo()
        assert len({before, during, get_default_context()}) == 3

    def test_an_interrupted_one_is_made_by_the_next_call(
        self, monkeypatch: pytest.MonkeyPatch, file: Path, authority: trustme.CA
    ) -> None:
        trust(file, authority)

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(ssl, "create_default_context", interrupt)
            with pytest.raises(KeyboardInterrupt):
                get_default_context()
        found: list[ssl.SSLContext] = []
        thread = threading.Thread(target=lambda: found.append(get_default_context()))
        thread.start()
        thread.join(LIMIT)
        assert found == [get_default_context()]


class TestConnections:
    def test_the_authority_that_the_environment_names_is_trusted(
        self, file: Path, authority: trustme.CA, encrypted: Encrypted
    ) -> None:
        trust(file, authority)
        with RawServer(encrypted("localhost", answers(OK))) as server:
            assert send(server.port) == 202

    def test_a_new_client_trusts_what_the_file_has_by_then(
        self, file: Path, authority: trustme.CA, encrypted: Encrypted
    ) -> None:
        trust(file, make_authority())
        with RawServer(*[encrypted("localhost", answers(OK))] * 2) as server:
            with pytest.raises(ssl.SSLCertVerificationError):
                send(server.port)
            trust(file, authority)
            assert send(server.port) == 202

    def test_clients_that_share_it_resume_no_session_of_each_other(
        self, file: Path, authority: trustme.CA
    ) -> None:
        trust(file, authority)
        accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        accepting.set_alpn_protocols(["http/1.1", "h2"])
        authority.issue_cert("localhost").configure_cert(accepting)
        found: list[tuple[bool | None, str | None]] = []

        def serve(connection: Connection) -> None:
            connection.encrypt(accepting)
            assert isinstance(connection.socket, ssl.SSLSocket)
            answers(OK)(connection)
            found.append(
                (connection.socket.session_reused, connection.socket.selected_alpn_protocol())
            )

        with RawServer(serve, serve) as server:
            assert send(server.port) == send(server.port) == 202
            server.await_closed()
            server.await_closed()
        assert found == [(False, None)] * 2

    def test_an_own_context_is_used_instead_and_gets_the_name_as_text(
        self, file: Path, authority: trustme.CA, encrypted: Encrypted
    ) -> None:
        names: list[object] = []

        class Own(ssl.SSLContext):
            def wrap_socket(self, *given: Any, **named: Any) -> Any:
                names.append(named["server_hostname"])
                return super().wrap_socket(*given, **named)

        trust(file, make_authority())
        own = Own(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(own)
        with RawServer(encrypted("localhost", answers(OK))) as server:
            assert send(server.port, own) == 202
        assert names == ["localhost"]

    def test_a_name_that_no_host_has_is_an_error_of_the_connection(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def establish(connection: Connection) -> None:
            connection.read_request()
            connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            connection.await_close()

        with RawServer(establish) as proxy, closing(make_transport("https://a..b")) as transport:
            monkeypatch.setenv("https_proxy", proxy.url)
            with pytest.raises(OSError, match="has no valid host name"):
                transport.send(REQUEST, LIMIT)


FORKING = """
import os, sys, threading
from whisperr._http.tls import get_default_context

os.environ["SSL_CERT_FILE"] = sys.argv[1]
made = get_default_context()
assert made.cert_store_stats()["x509_ca"] == 1
others = threading.Event()

def make_others():
    while not others.wait(0):
        os.environ["SSLKEYLOGFILE"] = ""
        get_default_context()
        del os.environ["SSLKEYLOGFILE"]
        get_default_context()

thread = threading.Thread(target=make_others)
thread.start()
for _ in range(20):
    child = os.fork()
    if not child:
        os._exit(0 if get_default_context().cert_store_stats()["x509_ca"] == 1 else 3)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
others.set()
thread.join()
"""

UNDER_GEVENT = """
import os, ssl, sys
from whisperr._http.tls import get_default_context

os.environ["SSL_CERT_FILE"] = sys.argv[1]
before = get_default_context()
from gevent import monkey
monkey.patch_ssl()
after = get_default_context()
print(after is before, type(after) is ssl.SSLContext, after is get_default_context())
"""


def run(program: str, file: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={name: text for name, text in os.environ.items() if "COVERAGE" not in name},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork: not on this system")
def test_a_child_forked_while_a_thread_makes_a_context_gets_one(
    file: Path, authority: trustme.CA
) -> None:
    trust(file, authority)
    assert run(FORKING, file) == ["0"] * 20


def test_a_context_made_before_gevent_patched_the_sockets_is_not_used_afterwards(
    file: Path, authority: trustme.CA
) -> None:
    pytest.importorskip("gevent", reason="gevent: not installed")
    trust(file, authority)
    assert run(UNDER_GEVENT, file) == ["False", "True", "True"]
