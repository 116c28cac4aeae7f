"""Who issued a certificate, read from any bytes without an error."""

from __future__ import annotations

import random
import ssl
from typing import TYPE_CHECKING

import pytest

from whisperr._checkup.certificate import get_issuer

if TYPE_CHECKING:
    import trustme


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    made = pytest.importorskip("trustme", reason="trustme: not installed")
    authority: trustme.CA = made.CA(
        organization_name="Zażółć Proxy", organization_unit_name="Security"
    )
    return authority


@pytest.fixture(scope="module")
def der(authority: trustme.CA) -> bytes:
    pem = authority.issue_cert("localhost").cert_chain_pems[0].bytes()
    return ssl.PEM_cert_to_DER_cert(pem.decode())


def test_the_organisation_of_the_issuer_is_named(der: bytes) -> None:
    assert get_issuer(der) == "Zażółć Proxy"


def test_the_common_name_is_named_where_there_is_no_organisation() -> None:
    x509 = pytest.importorskip("cryptography.x509", reason="cryptography: not installed")
    from datetime import datetime, timezone

    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Proxy CA")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    made = made.public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(datetime(2026, 1, 1, tzinfo=timezone.utc))
    made = made.not_valid_after(datetime(2027, 1, 1, tzinfo=timezone.utc))
    assert get_issuer(made.sign(key, SHA256()).public_bytes(Encoding.DER)) == "Proxy CA"


def test_odd_bytes_have_no_issuer(der: bytes) -> None:
    for data in (b"", b"\x30", b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"\x30\x00", der + der):
        assert get_issuer(data) is None
    for end in range(len(der)):
        assert get_issuer(der[:end]) is None


def test_damaged_bytes_are_no_error(der: bytes) -> None:
    chosen = random.Random(8842)
    for _ in range(2_000):
        data = bytearray(der)
        for _ in range(chosen.randint(1, 4)):
            data[chosen.randrange(len(data))] = chosen.randrange(256)
        found = get_issuer(bytes(data))
        assert found is None or isinstance(found, str)
