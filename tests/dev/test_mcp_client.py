"""The official client of the Model Context Protocol uses the local server, in every way it can."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.dev.mcp_wire import NEWEST, TOOLS
from whisperr import Whisperr
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable

mcp = pytest.importorskip("mcp")
anyio = pytest.importorskip("anyio")
stdio = pytest.importorskip("mcp.client.stdio")

MODES = ["legacy", "auto", NEWEST]


def run(server: Any, mode: str, story: Callable[[Any], Any]) -> None:
    """Run a story with a client that is connected to an address or a command."""

    async def connect() -> None:
        with anyio.fail_after(60):
            async with mcp.Client(server, mode=mode) as client:
                await story(client)

    anyio.run(connect)


def over_stdio() -> Any:
    arguments = ["-m", "whisperr", "dev", "--mcp-stdio", "--port", "0"]
    environment = dict(os.environ)
    return stdio.StdioServerParameters(command=sys.executable, args=arguments, env=environment)


async def get_url(client: Any) -> str:
    """Return where the application shall send, as the server says while nothing has arrived."""
    waited = await client.call_tool("wait_for", {"timeout": 0})
    hint: str = waited.structured_content["hint"]
    return hint.partition("WHISPERR_BASE_URL=")[2].split()[0]


async def prove_that_an_event_arrives(client: Any) -> None:
    """Go the way of the instructions: the client checks every result against its schema."""
    listed = await client.list_tools()
    assert [tool.name for tool in listed.tools] == TOOLS
    last = (await client.call_tool("arrivals", {})).structured_content["last"]
    awaited = {"type": "plan_upgraded", "user": "user_8842", "after": last, "timeout": 50}
    answers: list[Any] = []
    url = await get_url(client)

    async def wait() -> None:
        answers.append(await client.call_tool("wait_for", awaited))

    def track() -> None:
        with Whisperr(api_key="wrk_dev", base_url=url) as application:
            application.track("user_8842", "plan_upgraded", {"plan": "pro", "seats": 9})

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        types = await client.call_tool("types", {})  # is not delayed by the wait
        assert (types.structured_content["types"], answers) == ([], [])
        await anyio.to_thread.run_sync(track)
    assert answers[0].is_error is False
    assert answers[0].structured_content["reached"] is True
    (arrival,) = answers[0].structured_content["arrivals"]
    assert arrival["body"]["properties"] == {"plan": "pro", "seats": 9}
    (described,) = (await client.call_tool("types", {})).structured_content["types"]
    assert [one["name"] for one in described["properties"]] == ["plan", "seats"]


async def see_what_is_wrong(client: Any) -> None:
    url, faults = await get_url(client), [{"kind": "status", "code": 401}]
    changed = await client.call_tool("set_faults", {"faults": faults})
    assert changed.structured_content["faults"][0]["code"] == 401

    def identify() -> None:
        lost: list[Any] = []
        with Whisperr(api_key="wrk_dev", base_url=url, on_error=lost.append) as application:
            application.identify("user_8842")
        assert lost

    await anyio.to_thread.run_sync(identify)
    refused = await client.call_tool("explain_refusal", {})
    assert refused.structured_content["refusal"]["status"] == 401
    assert refused.structured_content["refusal"]["error"] == "injected_fault"
    await client.call_tool("set_faults", {"faults": []})
    wrong = await client.call_tool("wait_for", {"timeout": 3600})
    assert wrong.is_error is True
    assert wrong.content[0].text.startswith("timeout: must be a number from 0 to 50")
    with pytest.raises(mcp.MCPError, match="Unknown tool: delete"):
        await client.call_tool("delete", {})


async def cancel_a_wait(client: Any) -> None:
    with anyio.move_on_after(0.1) as scope:
        await client.call_tool("wait_for", {"timeout": 50})
    assert scope.cancelled_caught
    assert (await client.call_tool("types", {})).is_error is False


STORIES = [prove_that_an_event_arrives, see_what_is_wrong, cancel_a_wait]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("story", STORIES)
def test_over_http(mode: str, story: Callable[[Any], Any]) -> None:
    with LocalServer() as server:
        run(f"{server.url}/mcp", mode, story)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("story", STORIES)
def test_over_standard_streams(mode: str, story: Callable[[Any], Any]) -> None:
    run(over_stdio(), mode, story)


@pytest.mark.parametrize(
    ("mode", "version", "is_introduced"),
    [("legacy", "2025-11-25", True), ("auto", NEWEST, True), (NEWEST, NEWEST, False)],
)
def test_client_and_server_agree_on_the_newest_version_of_the_clients_kind(
    mode: str, version: str, is_introduced: bool
) -> None:
    async def story(client: Any) -> None:
        assert client.protocol_version == version
        if is_introduced:
            assert client.server_info.name == "whisperr-dev"
            assert "Use it to instrument an application" in client.instructions

    with LocalServer() as server:
        run(f"{server.url}/mcp", mode, story)
