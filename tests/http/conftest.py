"""Certificates for servers of these tests, and a client that trusts their authority."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import trustme

    from tests.http.raw_server import Behaviour, Connection, Encrypted


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    made: trustme.CA = pytest.importorskip("trustme", reason="trustme: not installed").CA()
    return made


@pytest.fixture(scope="module")
def trusting_context(authority: trustme.CA) -> ssl.SSLContext:
    """Return a context of a client that trusts the authority of these tests."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="module")
def encrypted(authority: trustme.CA) -> Encrypted:
    """Return a function that makes a behaviour: a TLS handshake for a host, then another one."""

    def make(host: str, then: Behaviour) -> Behaviour:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(host).configure_cert(context)

        def behave(connection: Connection) -> None:
            connection.encrypt(context)
            then(connection)

        return behave

    return make
