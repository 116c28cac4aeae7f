"""docs/develop/assistants.md holds: its session is replayed, its tables are those of the code."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.dev.mcp_wire import post
from tests.docs.page import get_blocks, get_names, get_rows, get_text
from whisperr._cli.local import DEFAULT_PORT
from whisperr._cli.main import make_parser
from whisperr.dev import LocalServer
from whisperr.dev._mcp import endpoint
from whisperr.dev._mcp import tools as _tools
from whisperr.dev._mcp.definitions import (
    DEFAULT_ARRIVALS,
    DEFAULT_WAIT,
    DEFINITIONS,
    MAX_ARRIVALS,
    MAX_WAIT,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = "docs/develop/assistants.md"
TEXT = get_text(PAGE)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    with LocalServer() as started:
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_dev")
        monkeypatch.setenv("WHISPERR_BASE_URL", started.url)
        yield started


def is_part(shown: object, whole: object) -> bool:
    """Return whether an answer has what the page shows of it."""
    if isinstance(shown, dict) and isinstance(whole, dict):
        return all(name in whole and is_part(one, whole[name]) for name, one in shown.items())
    if isinstance(shown, list) and isinstance(whole, list):
        return len(shown) == len(whole) and all(map(is_part, shown, whole))
    return shown == whole


def test_the_session_is_what_the_server_answers(server: LocalServer) -> None:
    names: dict[str, Any] = {}
    replayed, reply = 0, None
    for language, text in BLOCK.findall(TEXT.partition("## A session\n")[2]):
        if language == "python" and "mcp" not in text:
            exec(compile(text, PAGE, "exec"), names)
            assert names["client"].shutdown() is True
            continue
        if language == "python":
            continue
        message = json.loads(text)
        if "method" in message:
            assert reply is None
            _, reply = post(server, message)
        else:
            assert is_part(message, reply), reply
            replayed, reply = replayed + 1, None
    assert replayed == 4


def test_the_script_proves_that_the_event_arrived(server: LocalServer) -> None:
    pytest.importorskip("mcp")
    application, script = get_blocks(PAGE, "python")
    names: dict[str, Any] = {}
    exec(compile(application, PAGE, "exec"), names)
    assert names["client"].shutdown() is True
    exec(compile(script, PAGE, "exec"), {"__name__": "__main__"})
    assert server.summary()["accepted"] == 1


def test_the_configuration_starts_the_command_and_names_the_address() -> None:
    started, by_address = (
        json.loads(block)["mcpServers"]["whisperr"] for block in get_blocks(PAGE, "json")[:2]
    )
    assert started["command"] == "whisperr"
    assert make_parser().parse_args(started["args"]).mcp_stdio is True
    assert by_address["url"] == f"http://127.0.0.1:{DEFAULT_PORT}{endpoint.PATH}"


def test_the_table_has_every_tool_with_its_arguments() -> None:
    rows = get_rows(PAGE, "The tools")
    assert {name.strip("`"): get_names(arguments) for name, arguments, _ in rows} == {
        name: list(tool["inputSchema"]["properties"]) for name, tool in DEFINITIONS.items()
    }


def test_the_figures_are_those_of_the_code() -> None:
    assert (
        f"waits {DEFAULT_WAIT:g} seconds unless `timeout` says otherwise, and {MAX_WAIT:g} at most"
        in TEXT
    )
    assert f"returns {DEFAULT_ARRIVALS} arrivals unless `limit` says otherwise" in TEXT
    assert f"and {MAX_ARRIVALS} at most" in TEXT
    assert f"more than {_tools._MAX_ARRIVAL_CHARS:,} characters" in TEXT
    assert endpoint.MAX_BODY_BYTES == 1024 * 1024
    assert f"with {endpoint._MAX_BATCH} messages at most" in TEXT


def test_the_versions_are_those_of_the_code() -> None:
    (versions,) = (row[1] for row in get_rows(PAGE, "The protocol") if row[0] == "versions")
    assert [name for name in get_names(versions) if name[0] == "2"] == [
        *endpoint.HANDSHAKE_VERSIONS,
        *endpoint.STATELESS_VERSIONS,
    ]
