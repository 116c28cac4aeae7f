"""The code of docs/frameworks in real servers: what was tracked arrives after SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import closing, suppress
from http.client import HTTPConnection
from importlib.util import find_spec
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.docs.page import get_blocks
from tests.facilities import needs_signals
from tests.hosts.host import BOUND, ROOT, Host
from tests.hosts.trials.trial import get_free_port

if TYPE_CHECKING:
    from pathlib import Path

    from whisperr.dev import LocalServer

pytestmark = needs_signals
_ATTEMPTS = 600  # a tenth of a second apart: far longer than any machine takes to listen
ASYNC = "docs/frameworks/async-frameworks.md"


class Case(NamedTuple):
    """A program of a page, and the command that serves it; its words may name PORT."""

    page: str
    needs: tuple[str, ...]
    module: str
    command: str
    # What the output contains once the host handles SIGTERM.
    ready: str = ""


CASES = (
    Case(
        ASYNC,
        ("litestar", "uvicorn"),
        "litestar_shop",
        "uvicorn --port PORT litestar_shop:application",
    ),
    Case(
        ASYNC,
        ("litestar", "hypercorn"),
        "litestar_shop",
        "hypercorn --bind 127.0.0.1:PORT litestar_shop:application",
    ),
    Case(ASYNC, ("quart", "uvicorn"), "quart_shop", "uvicorn --port PORT quart_shop:app"),
    Case(
        ASYNC,
        ("quart", "hypercorn"),
        "quart_shop",
        "hypercorn --bind 127.0.0.1:PORT quart_shop:app",
    ),
    Case(ASYNC, ("quart",), "quart_shop", "quart --app quart_shop run --port PORT"),
    Case(
        ASYNC,
        ("sanic",),
        "sanic_shop",
        "sanic --single-process --port PORT sanic_shop:app",
        "Worker ready",  # it ignores SIGTERM before that
    ),
    Case(ASYNC, ("tornado",), "tornado_shop", "tornado_shop"),
)


def get_program(page: str, module: str) -> str:
    """Return the block of a page that begins with the name of a file."""
    (block,) = [one for one in get_blocks(page, "python") if one.startswith(f"# {module}.py\n")]
    return block


def write_program(case: Case, home: Path, port: int) -> None:
    program = get_program(case.page, case.module).replace("8000", str(port))
    (home / f"{case.module}.py").write_text(program, encoding="utf-8")


def get_path(home: Path) -> str:
    return os.pathsep.join([str(home), str(ROOT), os.environ.get("PYTHONPATH", "")])


def skip_without(case: Case) -> None:
    for name in case.needs:
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


def cancel(port: int, headers: dict[str, str], host: Host) -> str | None:
    """Make a request, as soon as the host listens; return the id of its event."""
    for _ in range(_ATTEMPTS):
        with (
            suppress(ConnectionError),
            closing(HTTPConnection("127.0.0.1", port, BOUND)) as visitor,
        ):
            visitor.request("POST", "/cancel", headers=headers)
            answer: dict[str, str | None] = json.load(visitor.getresponse())
            return answer["message_id"]
        Event().wait(0.1)
    raise AssertionError(f"no process listens:\n{host.text}")


def test_every_program_of_the_page_is_served() -> None:
    blocks = {block.partition("\n")[0] for block in get_blocks(ASYNC, "python")}
    assert blocks == {f"# {case.module}.py" for case in CASES if case.page == ASYNC}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.command)
def test_the_event_of_a_request_arrives_after_sigterm(
    case: Case, server: LocalServer, tmp_path: Path
) -> None:
    skip_without(case)
    port = get_free_port()
    write_program(case, tmp_path, port)
    command = case.command.replace("PORT", str(port)).split()
    with Host([sys.executable, "-m", *command], server, PYTHONPATH=get_path(tmp_path)) as host:
        if case.ready:
            host.wait_for_output(case.ready)
        assert cancel(port, {}, host) is None
        message_id = cancel(port, {"X-User": "user_8842"}, host)
        assert server.arrivals() == [], "nothing waits"
        host.send(signal.SIGTERM)
        host.wait()
    assert "Traceback" not in host.text
    (arrival,) = server.arrivals()
    assert (arrival.user, arrival.type) == ("user_8842", "subscription_cancelled")
    assert arrival.body["context"]["$message_id"] == message_id


@pytest.mark.parametrize("case", {case.module: case for case in CASES}.values(), ids=lambda c: c[2])
def test_without_a_key_the_module_cannot_be_imported(
    case: Case, server: LocalServer, tmp_path: Path
) -> None:
    skip_without(case)
    write_program(case, tmp_path, port=0)
    command = [sys.executable, "-c", f"import {case.module}"]
    with Host(command, server, PYTHONPATH=get_path(tmp_path), WHISPERR_API_KEY="") as host:
        assert host.wait() == 1
    assert "MissingKey" in host.text.splitlines()[-1]
