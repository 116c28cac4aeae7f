"""The MCP endpoint on the wire: messages, versions, headers, and who may call it."""

from __future__ import annotations

import json
import threading
from http.client import HTTPConnection
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from tests.dev.mcp_wire import META, NEWEST, TOOLS, newest, post, request
from tests.dev.wire import call
from whisperr._version import __version__
from whisperr.dev import LocalServer
from whisperr.dev._mcp.endpoint import HANDSHAKE_VERSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test"}}
CALL = {"name": "types", "arguments": {}}
SUPPORTED = [NEWEST, *reversed(HANDSHAKE_VERSIONS)]


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as started:
        yield started


class TestHandshake:
    @pytest.mark.parametrize(
        ("requested", "answered"),
        [
            *((version, version) for version in HANDSHAKE_VERSIONS),
            (NEWEST, "2025-11-25"),  # which has no handshake
            ("2024-01-01", "2025-11-25"),
        ],
    )
    def test_initialize_answers_the_requested_version_or_the_latest_with_a_handshake(
        self, server: LocalServer, requested: str, answered: str
    ) -> None:
        message = request("initialize", {**INITIALIZE, "protocolVersion": requested})
        status, answer = post(server, message)
        assert (status, answer["id"], answer["jsonrpc"]) == (200, 1, "2.0")
        assert answer["result"]["protocolVersion"] == answered
        assert answer["result"]["capabilities"] == {"tools": {}}
        assert answer["result"]["serverInfo"]["version"] == __version__

    def test_the_instructions_say_how_to_start_an_application(self, server: LocalServer) -> None:
        text = post(server, request("initialize", INITIALIZE))[1]["result"]["instructions"]
        assert f"WHISPERR_BASE_URL={server.url} and WHISPERR_API_KEY=wrk_dev" in text
        assert [name for name in TOOLS if f"`{name}`" not in text] == []

    def test_the_instructions_do_not_show_the_key_of_the_server(self) -> None:
        with LocalServer(api_key="wrk_secret") as server:
            text = post(server, request("initialize", INITIALIZE))[1]["result"]["instructions"]
        assert "wrk_" not in text
        assert "--key" in text

    def test_nothing_has_to_come_before_a_call_because_no_session_is_kept(
        self, server: LocalServer
    ) -> None:
        status, answer = post(server, request("tools/list", number="a"))
        assert (status, answer["id"]) == (200, "a")
        assert [tool["name"] for tool in answer["result"]["tools"]] == TOOLS
        assert post(server, request("ping"))[1]["result"] == {}

    @pytest.mark.parametrize("version", [None, *HANDSHAKE_VERSIONS])
    def test_a_tool_is_called_in_every_version(
        self, server: LocalServer, version: str | None
    ) -> None:
        headers = {} if version is None else {"MCP-Protocol-Version": version}
        status, answer = post(server, request("tools/call", CALL), headers)
        assert status == 200
        assert answer["result"]["structuredContent"]["types"] == []
        assert answer["result"].keys() == {"content", "structuredContent", "isError"}


class TestStateless:
    def test_discover_lists_the_versions(self, server: LocalServer) -> None:
        status, answer = post(server, *newest("server/discover"))
        result = answer["result"]
        assert status == 200
        assert (result["supportedVersions"], result["resultType"]) == (SUPPORTED, "complete")
        assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "whisperr-dev"
        assert server.url in result["instructions"]
        assert (result["ttlMs"], result["cacheScope"]) == (300_000, "public")

    def test_tools_are_listed_and_called(self, server: LocalServer) -> None:
        listed = post(server, *newest("tools/list"))[1]["result"]
        assert [tool["name"] for tool in listed["tools"]] == TOOLS
        called = post(server, *newest("tools/call", CALL))[1]["result"]
        assert called["resultType"] == "complete"
        assert called["structuredContent"]["inspected"] == 0
        assert "ttlMs" not in called

    def test_a_name_may_be_in_base64(self, server: LocalServer) -> None:
        message, headers = newest("tools/call", CALL)
        status, answer = post(server, message, {**headers, "Mcp-Name": "=?base64?dHlwZXM=?="})
        assert (status, "result" in answer) == (200, True)

    @pytest.mark.parametrize(
        ("changed", "status", "code", "text"),
        [
            ({"MCP-Protocol-Version": None}, 400, -32020, "MCP-Protocol-Version is nothing"),
            ({"MCP-Protocol-Version": "2025-11-25"}, 400, -32020, "MCP-Protocol-Version is 2025"),
            ({"Mcp-Method": None}, 400, -32020, "Mcp-Method is nothing"),
            ({"Mcp-Method": "tools/list"}, 400, -32020, "Mcp-Method is tools/list"),
            ({"Mcp-Name": None}, 400, -32020, "Mcp-Name is nothing"),
            ({"Mcp-Name": "arrivals"}, 400, -32020, "Mcp-Name is arrivals"),
            ({"Mcp-Name": "=?base64?!?="}, 400, -32020, "Mcp-Name is =?base64"),
        ],
    )
    def test_headers_that_contradict_the_body_are_refused(
        self,
        server: LocalServer,
        changed: dict[str, str | None],
        status: int,
        code: int,
        text: str,
    ) -> None:
        message, headers = newest("tools/call", CALL)
        given = {name: value for name, value in {**headers, **changed}.items() if value is not None}
        answered, answer = post(server, message, given)
        assert (answered, answer["id"], answer["error"]["code"]) == (status, 1, code)
        assert text in answer["error"]["message"]

    @pytest.mark.parametrize("key", META)
    def test_missing_metadata_is_named(self, server: LocalServer, key: str) -> None:
        message, headers = newest("server/discover")
        message["params"]["_meta"] = {name: META[name] for name in META if name != key}
        status, answer = post(server, message, headers)
        assert (status, answer["error"]["code"]) == (400, -32602)
        assert key in answer["error"]["message"]

    def test_a_version_that_is_not_served_lists_those_that_are(self, server: LocalServer) -> None:
        message, headers = newest("server/discover")
        message["params"]["_meta"] = {**META, next(iter(META)): "2099-01-01"}
        status, answer = post(server, message, {**headers, "MCP-Protocol-Version": "2099-01-01"})
        assert (status, answer["error"]["code"]) == (400, -32022)
        assert answer["error"]["data"] == {"supported": SUPPORTED, "requested": "2099-01-01"}

    @pytest.mark.parametrize("method", ["ping", "subscriptions/listen", "prompts/list"])
    def test_an_unknown_method_is_not_found(self, server: LocalServer, method: str) -> None:
        status, answer = post(server, *newest(method))
        assert (status, answer["error"]["code"]) == (404, -32601)

    def test_a_header_that_comes_twice_is_refused(self, server: LocalServer) -> None:
        message, headers = newest("server/discover")
        lines = [*headers.items(), ("Mcp-Method", "server/discover")]
        body = json.dumps(message).encode()
        connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.putrequest("POST", "/mcp")
        for name, value in [*lines, ("Content-Length", str(len(body)))]:
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["error"]["code"]) == (400, -32020)
        connection.close()


WRONG: dict[str, tuple[object, int, int]] = {
    "no JSON": (b"{", 400, -32700),
    "no UTF-8": (b'"\xff"', 400, -32700),
    "nothing": (b"", 400, -32700),
    "nesting": (b"[" * 100_000, 400, -32700),
    "a string": ("tools/list", 400, -32600),
    "no version of JSON-RPC": ({"id": 1, "method": "ping"}, 400, -32600),
    "no method": ({"jsonrpc": "2.0", "id": 1}, 400, -32600),
    "a method that is no string": (request("ping") | {"method": 1}, 400, -32600),
    "an id that is null": (request("ping", number=None), 400, -32600),
    "an id that is a boolean": (request("ping", number=True), 400, -32600),
    "an id with a fraction": (request("ping", number=1.5), 400, -32600),
    "params that are a list": (request("ping", []), 200, -32602),
    "an unknown method": (request("resources/list"), 200, -32601),
    "a method of the newer rules": (request("server/discover"), 200, -32601),
    "no version": (request("initialize", {}), 200, -32602),
    "a version that is no string": (request("initialize", {"protocolVersion": 1}), 200, -32602),
    "a page that is not there": (request("tools/list", {"cursor": "2"}), 200, -32602),
    "no tool": (request("tools/call", {}), 200, -32602),
    "an unknown tool": (request("tools/call", {"name": "delete"}), 200, -32602),
    "arguments that are a list": (
        request("tools/call", {"name": "types", "arguments": []}),
        200,
        -32602,
    ),
    "an empty list": ([], 400, -32600),
    "a long list": ([request("ping")] * 21, 400, -32600),
}


class TestWrongMessages:
    @pytest.mark.parametrize("name", WRONG)
    def test_a_wrong_message_is_answered_with_the_error_of_json_rpc(
        self, server: LocalServer, name: str
    ) -> None:
        message, status, code = WRONG[name]
        answered, answer = post(server, message)
        assert (answered, answer["error"]["code"], answer["jsonrpc"]) == (status, code, "2.0")
        readable = isinstance(message, dict) and type(message.get("id")) is int
        assert answer["id"] == (1 if readable else None)

    def test_an_unknown_tool_is_answered_with_those_that_exist(self, server: LocalServer) -> None:
        answer = post(server, request("tools/call", {"name": "delete\x1b"}))[1]
        known = ", ".join(TOOLS)
        assert answer["error"]["message"] == f"Unknown tool: delete\\x1b; there are {known}"

    def test_an_unknown_version_in_the_header_is_refused(self, server: LocalServer) -> None:
        status, answer = post(server, request("ping"), {"MCP-Protocol-Version": "1"})
        assert (status, answer["error"]["code"]) == (400, -32022)
        assert answer["error"]["data"]["supported"] == SUPPORTED


class TestNotifications:
    @pytest.mark.parametrize("method", ["notifications/initialized", "notifications/unknown"])
    @pytest.mark.parametrize("headers", [{}, {"MCP-Protocol-Version": NEWEST}])
    def test_a_notification_is_accepted_without_a_body(
        self, server: LocalServer, method: str, headers: dict[str, str]
    ) -> None:
        assert post(server, {"jsonrpc": "2.0", "method": method}, headers) == (202, None)

    def test_a_notification_in_an_unknown_version_is_refused(self, server: LocalServer) -> None:
        message = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert post(server, message, {"MCP-Protocol-Version": "1"})[0] == 400

    def test_a_response_is_accepted_and_ignored_by_the_older_rules(
        self, server: LocalServer
    ) -> None:
        message = {"jsonrpc": "2.0", "id": 7, "result": {}}
        assert post(server, message) == (202, None)
        assert post(server, message, {"MCP-Protocol-Version": NEWEST})[0] == 400
        assert post(server, request("ping") | {"result": {}})[1]["result"] == {}


class TestBatches:
    def test_the_requests_of_a_list_are_answered_in_order(self, server: LocalServer) -> None:
        notice = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        status, answers = post(server, [request("ping"), notice, request("x", number=2), 3])
        assert status == 200
        assert [(one["id"], "result" in one) for one in answers] == [
            (1, True),
            (2, False),
            (None, False),
        ]

    def test_a_list_of_notifications_has_no_answer(self, server: LocalServer) -> None:
        assert post(server, [{"jsonrpc": "2.0", "method": "notifications/x"}]) == (202, None)

    @pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25", NEWEST])
    def test_later_versions_have_no_lists(self, server: LocalServer, version: str) -> None:
        status, answer = post(server, [request("ping")], {"MCP-Protocol-Version": version})
        assert (status, answer["error"]["code"]) == (400, -32600)


class TestHttp:
    @pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
    def test_only_post_is_allowed(self, server: LocalServer, method: str) -> None:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request(method, "/mcp")
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        connection.close()

    @pytest.mark.parametrize(
        ("headers", "error"),
        [
            ({"Host": "attacker.example"}, "host_not_loopback"),
            ({"Host": "attacker.example:8722"}, "host_not_loopback"),
            ({"Origin": "http://attacker.example"}, "foreign_origin"),
            ({"Origin": "null"}, "foreign_origin"),
            ({"Sec-Fetch-Site": "cross-site"}, "foreign_site"),
        ],
    )
    def test_pages_of_other_sites_and_other_hosts_are_refused(
        self, server: LocalServer, headers: dict[str, str], error: str
    ) -> None:
        status, answer = post(server, request("tools/list"), headers)
        assert (status, answer["error"]) == (403, error)

    def test_its_requests_are_not_those_of_a_client(self, server: LocalServer) -> None:
        post(server, request("tools/list"))
        post(server, b"{")
        post(server, request("ping"), {"Host": "attacker.example"})
        post(server, b"", method="GET")
        assert call(server, "GET", "/_dev/requests")[1] == {"requests": []}
        assert server.summary()["requests"] == 0

    @pytest.mark.parametrize(
        ("headers", "status"),
        [({"Transfer-Encoding": "chunked"}, 411), ({"Content-Length": str(2**20 + 1)}, 413)],
    )
    def test_a_body_is_bounded(
        self, server: LocalServer, headers: dict[str, str], status: int
    ) -> None:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.putrequest("POST", "/mcp")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status == status
        connection.close()

    def test_a_small_max_body_is_for_clients_only(self) -> None:
        with LocalServer(max_body_bytes=10) as server:
            assert post(server, request("ping"))[0] == 200

    def test_faults_do_not_meet_it(self, server: LocalServer) -> None:
        faults = {"faults": [{"kind": "status"}, {"kind": "hang"}]}
        post(server, request("tools/call", {"name": "set_faults", "arguments": faults}))
        assert post(server, request("ping"))[0] == 200


def wait_for(timeout: float) -> dict[str, Any]:
    return request("tools/call", {"name": "wait_for", "arguments": {"timeout": timeout}})


class TestWaits:
    def test_waits_do_not_delay_other_requests_and_end_with_an_arrival(
        self, server: LocalServer
    ) -> None:
        answers: list[Any] = []
        threads = [
            Thread(target=lambda: answers.append(post(server, wait_for(50)))) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        assert post(server, request("ping"))[0] == 200
        assert answers == []
        call(server, "POST", "/v1/identify", {"external_user_id": "user_1"})
        for thread in threads:
            thread.join(30)
        reached = [one["result"]["structuredContent"]["reached"] for _, one in answers]
        assert reached == [True, True, True]

    @pytest.mark.parametrize("closes", ["client", "server"])
    def test_a_wait_ends_when_its_client_or_the_server_has_gone(self, closes: str) -> None:
        with LocalServer() as server:
            before = get_connection_threads()
            connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
            connection.request("POST", "/mcp", json.dumps(wait_for(50)))
            assert post(server, request("ping"))[0] == 200  # the first connection is accepted
            waiting = get_connection_threads() - before
            assert waiting
            if closes == "client":
                connection.close()
                join(waiting)
        join(waiting)
        connection.close()


def get_connection_threads() -> set[Thread]:
    return {one for one in threading.enumerate() if "process_request_thread" in one.name}


def join(threads: set[Thread]) -> None:
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
