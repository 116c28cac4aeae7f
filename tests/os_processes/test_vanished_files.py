"""Programs whose files are replaced or deleted while they run, as by a deployment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import whisperr
from tests.os_processes.program import BOUND, HEAD, numbers, run
from whisperr._delivery.lazy_transport import HTTP_MODULES

if TYPE_CHECKING:
    from whisperr.dev import LocalServer

PACKAGE = Path(whisperr.__file__).parent

PROGRAM = f"""{HEAD}
import os, shutil
release, end = sys.argv[2:]
assert client.__init__.__code__.co_filename.startswith(release)
if end == "replaced":
    for folder, _, names in os.walk(release):
        for name in names:
            with open(os.path.join(folder, name), "wb") as file:
                file.write(b"raise RuntimeError('of another version')")
elif os.path.isfile(release):
    os.remove(release)
else:
    shutil.rmtree(release)
client.track("u", "seat_removed", {{"n": 0}})
print(client.shutdown(60))
"""


@pytest.mark.parametrize("before", ["", "import socket"], ids=["bare", "sockets loaded"])
@pytest.mark.parametrize(
    ("kind", "end"), [("directory", "deleted"), ("directory", "replaced"), ("archive", "deleted")]
)
def test_a_client_made_before_its_files_vanish_delivers(
    server: LocalServer, tmp_path: Path, kind: str, end: str, before: str
) -> None:
    release = tmp_path / "release"
    shutil.copytree(PACKAGE, release / "whisperr")
    if kind == "archive":
        release = Path(shutil.make_archive(str(tmp_path / "release"), "zip", release))
    # Not measured: a report of coverage would look for the files.
    env = {name: text for name, text in os.environ.items() if "COVERAGE" not in name}
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\n{PROGRAM}", server.url, str(release), end],
        env={**env, "PYTHONPATH": str(release)},
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
    assert numbers(server.arrivals(), "seat_removed") == [0]


def test_the_code_of_all_modules_of_a_request_is_kept() -> None:
    found = {path.stem for path in (PACKAGE / "_http").glob("*.py")}
    assert found - {"__init__"} == set(HTTP_MODULES)


# Files of the standard library that vanish: it is not read before its first use.
INCOMPLETE = f"""{HEAD}
class Gone:
    def find_spec(self, name, *_):
        if name == "socket":
            raise ModuleNotFoundError("No module named 'socket'", name=name)

client = Whisperr("wrk_test", base_url=sys.argv[1], max_retries=0, flush_interval=3600)
sys.modules.pop("socket", None)
sys.meta_path.insert(0, Gone())
client.track("u", "seat_removed", {{"n": 0}})
print(client.flush(60), client.stats().held)
sys.meta_path.pop(0)
print(client.flush(60), client.stats().held)
"""


def test_what_python_cannot_import_is_reported_with_what_to_do_and_the_events_are_kept(
    server: LocalServer,
) -> None:
    # Not measured: that loads sockets, and with them the client has loaded all that it needs.
    out, err = run(INCOMPLETE, server, measured=False)
    assert out == "False 1\nTrue 0\n"
    assert "No module named 'socket'" in err
    assert "restart the process" in err
    assert numbers(server.arrivals(), "seat_removed") == [0]
