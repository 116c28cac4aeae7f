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


LATE = (
    HEAD.replace("client = ", "import os\nclient = ").replace(
        "flush_at=1_000_000", "on_error=lambda e: print(e.reason, e.count), flush_at=1_000_000"
    )
    + """
def track(*clients):
    for _ in range(5):
        for one in clients or [client]:
            one.track("u", "late_event")
"""
)


@pytest.mark.parametrize("first", ["", "track()"], ids=["idle", "delivered"])
def test_calls_after_a_shutdown_are_all_reported_at_the_exit(
    server: LocalServer, first: str
) -> None:
    out, err = run(f"{LATE}\n{first}\nclient.shutdown(60)\ntrack()", server)
    assert out == "closed 1\nclosed 4\n"
    assert err.count("not accepted (closed)") == 2


def test_calls_of_a_client_that_is_gone_are_all_reported_at_the_exit(server: LocalServer) -> None:
    out, _ = run(f"{LATE}\ntrack()\nclient.shutdown(60)\ntrack()\ndel client", server)
    assert out == "closed 1\nclosed 4\n"


def test_visitors_without_a_user_are_all_reported_at_the_exit(server: LocalServer) -> None:
    program = """
client.track("u", "some_event")
client.shutdown(60)
for _ in range(5):
    client.track(None, "late_event")
    client.reject(TypeError(), "track")
"""
    out, _ = run(f"{LATE}{program}", server)
    assert sorted(out.splitlines()) == ["closed 1", "closed 4", "invalid 1", "invalid 4"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("first", ["", "track()"], ids=["idle", "delivered"])
def test_a_forked_child_reports_all_its_own_late_calls_at_its_exit(
    server: LocalServer, first: str
) -> None:
    program = f"""{LATE}
{first}
client.shutdown(60)
track()
sys.stdout.flush()
pid = os.fork()
if pid == 0:
    print("child", flush=True)
    track()
else:
    assert os.waitpid(pid, 0)[1] == 0
    print("parent", flush=True)
"""
    out, _ = run(program, server, measured=False)
    reports = "closed 1\n{}\nclosed 1\nclosed 4\n{}\nclosed 4\n"
    assert out == reports.format("child", "parent")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_of_multiprocessing_reports_all_its_late_calls_at_its_end(
    server: LocalServer,
) -> None:
    program = f"""{LATE}
import multiprocessing
def work():
    client.shutdown(60)
    track()
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
sys.exit(child.exitcode)
"""
    out, _ = run(program, server, measured=False)
    assert out == "closed 1\nclosed 4\n"


def test_what_is_tracked_after_the_exit_of_the_library_is_reported_at_once(
    server: LocalServer,
) -> None:
    """`atexit` functions that were registered before the library run after its own."""
    program = f"import atexit\natexit.register(lambda: track())\n{LATE}"
    out, err = run(program, server)
    assert out == "closed 1\n" * 5
    assert err.count("not accepted (closed)") == 5


def test_a_client_that_is_made_after_the_exit_of_the_library_says_so(server: LocalServer) -> None:
    program = f"""
import atexit
def work():
    late = Whisperr("wrk_test", base_url=sys.argv[1])
    for _ in range(2):
        late.track("u", "late_event")
        late.track("u", "Not A Name")
    if sys.argv[2] == "flush":
        print(late.flush(60), late.stats().delivered)
atexit.register(work)
{HEAD}
"""
    out, err = run(program, server, "no")
    assert (out, err.count("created after the exit"), err.count("(invalid)")) == ("", 1, 2)
    out, _ = run(program, server, "flush")
    assert out == "True 2\n"
