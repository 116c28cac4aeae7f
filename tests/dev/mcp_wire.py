"""Raw messages of the Model Context Protocol, by the older and the newer rules."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from whisperr.dev import LocalServer

NEWEST = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": NEWEST,
    "io.modelcontextprotocol/clientCapabilities": {},
}
TOOLS = ["arrivals", "explain_refusal", "wait_for", "set_faults", "types"]
ACCEPT = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


def request(method: str, params: object = None, number: object = 1) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "id": number, "method": method}
    return message if params is None else {**message, "params": params}


def newest(
    method: str, params: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a request by the rules of 2026-07-28, and the headers that repeat it."""
    given = params or {}
    headers = {"MCP-Protocol-Version": NEWEST, "Mcp-Method": method}
    if "name" in given:
        headers["Mcp-Name"] = given["name"]
    return request(method, {**given, "_meta": META}), headers


def post(
    server: LocalServer,
    message: object,
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
) -> tuple[int, Any]:
    """Make one request at /mcp; return the status and the JSON, None without a body."""
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request(method, "/mcp", body, {**ACCEPT, **(headers or {})})
        answer = connection.getresponse()
        data = answer.read()
        return answer.status, json.loads(data) if data else None
    finally:
        connection.close()


def call_tool(server: LocalServer, name: str, **arguments: Any) -> dict[str, Any]:
    """Return the structured result of a tool."""
    status, answer = post(server, request("tools/call", {"name": name, "arguments": arguments}))
    assert status == 200, answer
    result = answer["result"]
    assert result["isError"] is False, result
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
    structured: dict[str, Any] = result["structuredContent"]
    return structured


def get_tool_error(server: LocalServer, name: str, **arguments: Any) -> str:
    """Return the text of a tool's error."""
    status, answer = post(server, request("tools/call", {"name": name, "arguments": arguments}))
    result = answer["result"]
    assert (status, result["isError"], "structuredContent" in result) == (200, True, False)
    text: str = result["content"][0]["text"]
    return text
