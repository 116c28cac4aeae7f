"""Makes the certificate of the encrypted server, once, in an environment of its own.

A client trusts its authority in addition to those of this system, because reading them all is part
of the first request that is measured.
"""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

from benchmarks.environments import HOME, Unavailable, get_python

_MAKE = """
import sys, trustme
authority = trustme.CA()
server = authority.issue_cert("localhost")
with open(sys.argv[1], "wb") as file:
    file.write(server.private_key_and_cert_chain_pem.bytes())
with open(sys.argv[2], "wb") as file:
    file.write(authority.cert_pem.bytes())
"""


class Certificate(NamedTuple):
    """The files of a certificate: the server's key with its chain, and what a client trusts."""

    server: Path
    authorities: Path


def get_certificate() -> Certificate:
    """Return the certificate of `localhost`; raises Unavailable where none can be made."""
    folder = HOME / "certificate"
    found = Certificate(folder / "server.pem", folder / "authorities.pem")
    if found.authorities.exists():
        return found
    python = get_python("certificate")
    folder.mkdir(exist_ok=True)
    command = [str(python), "-c", _MAKE, str(found.server), str(folder / "own.pem")]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:]
        raise Unavailable(f"no certificate: {' '.join(last)}") from error
    found.server.chmod(0o600)
    system = ssl.get_default_verify_paths().cafile
    trusted = b"" if system is None else Path(system).read_bytes() + b"\n"
    found.authorities.write_bytes(trusted + (folder / "own.pem").read_bytes())
    return found
