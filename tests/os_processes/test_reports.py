"""Reports in processes that have no stderr, no file descriptors, or no interpreter any more."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.os_processes.program import HEAD, run

if TYPE_CHECKING:
    from whisperr.dev import LocalServer


def test_a_closed_stderr_does_not_stop_delivery(server: LocalServer) -> None:
    program = (
        HEAD.replace("flush_interval=3600", "flush_interval=3600, debug=True")
        + """
client.track("u", "first_event")
sys.stderr.close()
print(client.flush(60))
client.track("", "some_event")
client.track("u", "second_event")
print(client.flush(60), client.stats().delivered, client.stats().not_accepted)
"""
    )
    out, _ = run(program, server)
    assert out == "True\nTrue 2 {'invalid': 1}\n"


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_process_without_file_descriptors_goes_on_when_it_has_some_again(
    server: LocalServer,
) -> None:
    """Its log handler opens a file for each record, as a rotating one does."""
    program = (
        HEAD.replace("flush_at=1_000_000", "max_retries=0, flush_at=1_000_000")
        + """
import logging, os, resource, tempfile
class Opening(logging.Handler):
    def emit(self, record):
        with open(os.devnull, "w") as file:
            file.write(record.getMessage())
logging.getLogger("whisperr").addHandler(Opening())
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
print(client.track("u", "first_event") is not None)
print(client.track("", "some_event"))
print(client.flush(60))
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
client.track("u", "second_event")
print(client.flush(60), client.stats().delivered, client.stats().held)
"""
    )
    out, _ = run(program, server, measured=False)
    assert out == "True\nNone\nFalse\nTrue 2 0\n"


def test_an_object_that_tracks_when_the_interpreter_ends_raises_nothing(
    server: LocalServer,
) -> None:
    program = (
        HEAD
        + """
import builtins
class Last:
    def __del__(self, track=client.track, report=sys.stderr.write):
        try:
            track("u", "some_event")
            track("u", "Not A Name")
        except BaseException as error:
            os.write(1, repr(error).encode())
        else:
            os.write(1, b"nothing raised")
import os
sys.modules["last"] = builtins.last = Last()
"""
    )
    out, err = run(program, server, measured=False)
    assert out == "nothing raised"
    assert "Traceback" not in err
