"""docs/frameworks/other-hosts.md: its programs run and end, and everything that they track arrives.

`test_processes.py` compares its table with the trials of real hosts.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from tests.docs.page import get_blocks
from tests.docs.pasted import run
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAMS = {
    block.partition("\n")[0].removeprefix("# "): block
    for block in get_blocks("docs/frameworks/other-hosts.md", "python")
}
# Runs a cell in a running event loop, as a kernel does.
KERNEL = """
import ast, asyncio

async def run_cell():
    code = compile({cell!r}, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names = {{"__name__": "__main__"}}
    await eval(code, names)
    print(names["whisperr"].stats().held)

asyncio.run(run_cell())
"""


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started


def run_program(folder: Path, text: str, url: str) -> str:
    return run(folder, text, WHISPERR_BASE_URL=url, WHISPERR_API_KEY="wrk_test").stdout


def test_the_page_has_the_programs_that_are_tried_here() -> None:
    assert list(PROGRAMS) == ["trials.py", "usage.py", "a cell"]


@pytest.mark.parametrize(
    ("program", "arriving"),
    [
        ("trials.py", [("user_8842", "trial_expired"), ("user_8843", "trial_expired")]),
        ("usage.py", [("user_8842", "usage_dropped")]),
    ],
)
def test_a_script_delivers_at_its_end(
    program: str, arriving: list[tuple[str, str]], server: LocalServer, tmp_path: Path
) -> None:
    run_program(tmp_path, PROGRAMS[program], server.url)
    assert [(arrival.user, arrival.type) for arrival in server.arrivals()] == arriving


def test_a_script_that_could_not_deliver_fails(tmp_path: Path) -> None:
    with LocalServer() as server:
        url = server.url  # nothing listens there after the block
    program = PROGRAMS["usage.py"].replace("timeout=30", "timeout=0.1")
    with pytest.raises(AssertionError, match="not all events were delivered"):
        run_program(tmp_path, program, url)


def test_a_cell_of_a_notebook_delivers_before_it_ends(server: LocalServer, tmp_path: Path) -> None:
    cell = PROGRAMS["a cell"]
    last = ast.unparse(ast.parse(cell).body[-1])
    assert last == "await whisperr.aflush(timeout=10)"
    assert run_program(tmp_path, KERNEL.format(cell=cell), server.url) == "0\n"
    (arrival,) = server.arrivals()
    assert (arrival.type, arrival.body["context"]["$mode"]) == ("payment_failed", "test")
