"""The tools of the MCP endpoint: what they answer, and what they change."""

from __future__ import annotations

from json import dumps
from threading import Thread
from time import monotonic
from typing import Any

import pytest

from tests.dev.mcp_wire import TOOLS, call_tool, get_tool_error
from tests.dev.wire import BATCH, NOW, event, post
from whisperr.dev import Fault, LocalServer, Problem, ReceivedRequest, faults
from whisperr.dev._ingest.model import to_arrival
from whisperr.dev._mcp import tools
from whisperr.dev._mcp.definitions import DEFINITIONS
from whisperr.dev._mcp.tools import Call, Source
from whisperr.dev._memory.arrivals import Arrivals
from whisperr.dev.faults import FaultInjector


def send(server: LocalServer, *events: Any) -> None:
    assert post(server, BATCH, {"events": list(events)})[0] == 202


class TestArrivals:
    @pytest.mark.parametrize(
        ("arguments", "ids", "matched"),
        [
            ({}, ["a", "b", "c", None], 4),
            ({"user": "user_2"}, ["b"], 1),
            ({"type": "payment_*"}, ["c"], 1),
            ({"kind": "identify"}, [None], 1),
            ({"status": "refused"}, ["c"], 1),
            ({"after": 2}, ["c", None], 2),
            ({"limit": 2}, ["c", None], 4),
            ({"q": "-user:user_1 kind:event"}, ["b"], 1),
            ({"user": "user_9"}, [], 0),
        ],
    )
    def test_they_are_listed_and_filtered(
        self, server: LocalServer, arguments: dict[str, Any], ids: list[str | None], matched: int
    ) -> None:
        wrong = event("c", event_type="payment_failed", properties=[])
        send(server, event("a"), event("b", external_user_id="user_2"), wrong)
        post(server, "/v1/identify", {"external_user_id": "user_1"})
        answer = call_tool(server, "arrivals", **arguments)
        assert [one["message_id"] for one in answer["arrivals"]] == ids
        assert (answer["matched"], answer["last"]) == (matched, 4)

    def test_an_arrival_has_its_body_and_its_problems(self, server: LocalServer) -> None:
        send(server, event("a", properties={"plan": "pro"}), event("b", properties=[]))
        first, second = call_tool(server, "arrivals")["arrivals"]
        assert first["body"]["properties"] == {"plan": "pro"}
        assert (first["received_at"], first["cut"]) == (NOW, False)
        assert second["problems"][0]["fix"].startswith("Send an object")

    def test_a_large_body_is_cut(self, server: LocalServer) -> None:
        send(server, event("a", properties={"text": "x" * 5000}))
        (arrival,) = call_tool(server, "arrivals")["arrivals"]
        assert (arrival["body"], arrival["cut"], arrival["type"]) == (None, True, "trial_started")

    def test_problems_with_long_texts_are_cut(self, server: LocalServer) -> None:
        send(server, {**event("a"), **{f"{'x' * 10_000}{n}": 1 for n in range(30)}})
        (arrival,) = call_tool(server, "arrivals")["arrivals"]
        assert len(arrival["problems"]) == 20
        assert max(len(one["pointer"]) for one in arrival["problems"]) == 500
        assert len(call_tool(server, "explain_refusal")["refusal"]["reason"]) < 20 * 510

    def test_a_wrong_filter_is_an_error_that_says_what_is_allowed(
        self, server: LocalServer
    ) -> None:
        text = get_tool_error(server, "arrivals", q="colour:red")
        assert text.startswith("colour: is not a field; fields are user, type")
        assert get_tool_error(server, "wait_for", q="colour:red", timeout=50) == text

    def test_text_that_is_no_unicode_is_replaced(self, server: LocalServer) -> None:
        send(server, event("a", external_user_id="\ud800"))
        assert call_tool(server, "arrivals")["arrivals"][0]["user"] == "?"


class TestExplainRefusal:
    def test_nothing_was_refused(self, server: LocalServer) -> None:
        send(server, event("a"))
        assert call_tool(server, "explain_refusal") == {"refusal": None}

    def test_the_latest_refused_event_is_explained(self, server: LocalServer) -> None:
        send(server, event("a", event_type="Bad"), event("b"), event("c", properties=[]))
        refusal = call_tool(server, "explain_refusal")["refusal"]
        assert (refusal["kind"], refusal["seq"], refusal["user"]) == ("event", 3, "user_1")
        assert (refusal["path"], refusal["status"], refusal["agent"]) == (
            BATCH,
            202,
            "whisperr-python/0",
        )
        (problem,) = refusal["problems"]
        assert problem == {
            "pointer": "/properties",
            "found": "[]",
            "expected": "an object, {} if there are none",
            "fix": "Send an object; if there are no properties, send {}.",
        }
        assert refusal["reason"] == "/properties: []; expected an object, {} if there are none"
        assert refusal["sent"].startswith('{"external_user_id": "user_1", "event_type"')
        assert '"c"' in refusal["sent"]

    def test_one_of_them_is_asked_for_by_its_number(self, server: LocalServer) -> None:
        send(server, event("a", event_type="Bad"), event("b", properties=[]))
        refusal = call_tool(server, "explain_refusal", seq=1)["refusal"]
        assert (refusal["type"], refusal["problems"][0]["pointer"]) == ("Bad", "/event_type")

    def test_a_refused_identify_is_explained(self, server: LocalServer) -> None:
        post(server, "/v1/identify", {"external_user_id": ""})
        refusal = call_tool(server, "explain_refusal")["refusal"]
        assert (refusal["kind"], refusal["type"], refusal["status"]) == ("identify", None, 400)

    @pytest.mark.parametrize(
        ("path", "body", "changes", "status", "error", "fix"),
        [
            (BATCH, {"events": []}, {}, 400, "no_events", None),
            (BATCH, b"{", {}, 400, "invalid_json", None),
            (BATCH, {}, {"X-API-Key": "x"}, 401, "invalid_api_key", "Set WHISPERR_API_KEY"),
            ("/v2", {}, {}, 404, "not_found", "Set WHISPERR_BASE_URL"),
        ],
    )
    def test_a_request_that_was_refused_as_a_whole_is_explained(
        self,
        path: str,
        body: object,
        changes: dict[str, str | None],
        status: int,
        error: str,
        fix: str | None,
    ) -> None:
        with LocalServer(api_key="wrk_test", clock=lambda: NOW) as server:
            send(server, event("a", event_type="Bad"))
            post(server, path, body, **changes)
            refusal = call_tool(server, "explain_refusal")["refusal"]
            assert (refusal["kind"], refusal["seq"], refusal["request"]) == ("request", None, 2)
            assert (refusal["status"], refusal["error"]) == (status, error)
            assert (refusal["fix"] or "").startswith(fix or "")
            assert refusal["sent"] == (body.decode() if isinstance(body, bytes) else dumps(body))
            send(server, event("b", event_type="Worse"))  # the latest counts
            assert call_tool(server, "explain_refusal")["refusal"]["type"] == "Worse"

    @pytest.mark.parametrize(
        ("seq", "text"),
        [
            (1, "seq=1: was not refused; its status is accepted"),
            (9, "seq=9: the server does not have it, or no longer has it"),
        ],
    )
    def test_a_number_that_cannot_be_explained_says_why(
        self, server: LocalServer, seq: int, text: str
    ) -> None:
        send(server, event("a"))
        assert get_tool_error(server, "explain_refusal", seq=seq) == text

    def test_one_whose_request_is_gone_is_explained_without_its_text(self) -> None:
        memory = Arrivals(10, None, None, None)
        refused = to_arrival("event", {}, [Problem("", "{}", "an event")], now=NOW)
        body = bytes(40 * 1024 * 1024)  # of two such requests, the memory keeps one
        large = ReceivedRequest(0, 1, NOW, "POST", BATCH, {}, body, 202, None)
        memory.keep(large, [refused])
        memory.keep(large)
        call = Call(Source(memory, FaultInjector(), "", any_key=True), lambda: False, 0)
        refusal = tools.call_tool(call, "explain_refusal", {})["refusal"]
        assert (refusal["seq"], refusal["sent"], refusal["path"]) == (1, None, None)
        assert refusal["reason"] == "the body: {}; expected an event"


class TestWaitFor:
    def test_it_ends_with_the_arrival_that_was_awaited(self, server: LocalServer) -> None:
        answers: list[Any] = []
        filters = {"type": "payment_*", "user": "user_2", "count": 2, "timeout": 50}
        waiting = Thread(target=lambda: answers.append(call_tool(server, "wait_for", **filters)))
        waiting.start()
        send(server, event("a", event_type="payment_failed"))
        send(server, event("b", event_type="payment_failed", external_user_id="user_2"))
        assert answers == []
        send(server, event("c", event_type="payment_late", external_user_id="user_2"))
        waiting.join(30)
        (answer,) = answers
        assert (answer["reached"], answer["count"], answer["hint"]) == (True, 2, None)
        assert [one["message_id"] for one in answer["arrivals"]] == ["b", "c"]
        assert answer["last"] == 3

    def test_what_is_there_already_counts_unless_after_says_otherwise(
        self, server: LocalServer
    ) -> None:
        send(server, event("a"))
        assert call_tool(server, "wait_for", timeout=0)["reached"] is True
        assert call_tool(server, "wait_for", timeout=0, after=1)["reached"] is False

    def test_only_accepted_arrivals_count_unless_a_status_is_given(
        self, server: LocalServer
    ) -> None:
        send(server, event("a", properties=[]))
        answer = call_tool(server, "wait_for", type="trial_started", timeout=0)
        assert (answer["reached"], answer["count"], answer["refused"]) == (False, 0, 1)
        assert answer["hint"] == "1 that match were refused: call explain_refusal."
        assert call_tool(server, "wait_for", status="refused", timeout=0)["reached"] is True

    def test_without_any_request_the_hint_says_how_to_start_the_application(
        self, server: LocalServer
    ) -> None:
        hint = call_tool(server, "wait_for", timeout=0.01)["hint"]
        assert hint.startswith("No request has reached this server. Start the application with ")
        assert f"WHISPERR_BASE_URL={server.url} and WHISPERR_API_KEY=wrk_dev" in hint

    def test_the_hint_names_a_refused_request_and_other_arrivals(self, server: LocalServer) -> None:
        send(server, event("a"))
        other = call_tool(server, "wait_for", type="paid", timeout=0)["hint"]
        assert other.startswith("0 match: compare the filters")
        post(server, BATCH, b"{")
        whole = call_tool(server, "wait_for", type="paid", timeout=0)["hint"]
        assert whole == "The latest request was refused or failed as a whole: call explain_refusal."

    def test_a_number_from_before_a_reset_is_named(self, server: LocalServer) -> None:
        send(server, event("a"), event("b"))
        server.reset()
        send(server, event("c"))
        hint = call_tool(server, "wait_for", after=2, timeout=0)["hint"]
        assert hint.startswith("after is larger than last, 1: the server was cleared")

    def test_it_shows_the_latest_twenty(self, server: LocalServer) -> None:
        send(server, *(event(str(number)) for number in range(25)))
        answer = call_tool(server, "wait_for", timeout=0)
        assert answer["count"] == 25
        assert [one["seq"] for one in answer["arrivals"]] == [*range(6, 26)]


class TestCall:
    def get(self, server: LocalServer, *, is_cancelled: bool, deadline: float) -> Call:
        source = Source(server._memory, server._injector, server.url, any_key=True)
        return Call(source, lambda: is_cancelled, deadline)

    @pytest.mark.parametrize(
        ("is_cancelled", "left", "timeout"), [(True, 50, 50), (False, -1, 50), (False, 50, 0)]
    )
    def test_a_wait_ends_with_its_time_its_client_and_the_time_of_the_whole_request(
        self, server: LocalServer, is_cancelled: bool, left: float, timeout: float
    ) -> None:
        start = monotonic()
        call = self.get(server, is_cancelled=is_cancelled, deadline=start + left)
        assert call.wait(lambda: False, timeout) is False
        assert monotonic() - start < 30

    def test_what_is_true_already_needs_no_time(self, server: LocalServer) -> None:
        assert self.get(server, is_cancelled=True, deadline=0).wait(lambda: True, 0) is True


class TestSetFaults:
    def test_faults_are_replaced_and_cleared(self, server: LocalServer) -> None:
        server.set_faults(faults.hang())
        given = {"kind": "status", "code": 429, "retry_after": "1", "times": 2}
        answer = call_tool(server, "set_faults", faults=[given])
        assert server.faults == (Fault("status", code=429, retry_after="1", times=2),)
        assert answer == {"faults": [dict(server.faults[0].to_json())]}
        assert call_tool(server, "set_faults", **answer) == answer  # its answer may be given back
        assert call_tool(server, "set_faults", faults=[]) == {"faults": []}
        assert not server.faults

    def test_wrong_faults_change_nothing(self, server: LocalServer) -> None:
        server.set_faults(faults.cut())
        wrong = [{"kind": "hang"}, {"kind": "status", "retry_after": "\x1b"}]
        assert "retry_after='\\x1b': must be printable" in get_tool_error(
            server, "set_faults", faults=wrong
        )
        assert server.faults == (faults.cut(),)


class TestTypes:
    def test_types_are_described_without_values(self, server: LocalServer) -> None:
        send(
            server,
            event("a", properties={"plan": "secret", "seats": 3, "price": 1.5}),
            event("b", properties={"plan": None, "tags": [], "card": {}, "new": True}),
            event("b", properties={}),
            event("c", event_type="paid", properties=[]),
            event("d", event_type=7),
        )
        post(server, "/v1/identify", {"external_user_id": "u", "traits": {"plan": "pro"}})
        answer = call_tool(server, "types")
        assert "secret" not in str(answer)
        paid, started = answer["types"]
        assert (paid["type"], paid["refused"], paid["accepted"], paid["properties"]) == (
            "paid",
            1,
            0,
            [],
        )
        assert [started[name] for name in ("count", "accepted", "duplicates", "refused")] == [
            *(3, 2, 1, 0)
        ]
        assert (started["first_received_at"], started["last_received_at"]) == (NOW, NOW)
        assert {one["name"]: one["types"] for one in started["properties"]} == {
            "card": {"object": 1},
            "new": {"boolean": 1},
            "plan": {"string": 1, "null": 1},
            "price": {"number": 1},
            "seats": {"integer": 1},
            "tags": {"array": 1},
        }
        assert answer["identifies"]["properties"] == [
            {"name": "plan", "count": 1, "types": {"string": 1}}
        ]
        assert (answer["left_out"], answer["inspected"], answer["last"]) == (0, 6, 6)

    def test_many_types_and_properties_are_bounded(self, server: LocalServer) -> None:
        send(server, *(event(str(n), event_type=f"t_{n:03}") for n in range(250)))
        send(server, event("x", event_type="t_000", properties={f"p_{n}": n for n in range(150)}))
        answer = call_tool(server, "types")
        assert (len(answer["types"]), answer["left_out"]) == (200, 50)
        assert len(answer["types"][0]["properties"]) == 100


def test_every_tool_has_a_function_and_a_definition(server: LocalServer) -> None:
    assert list(DEFINITIONS) == TOOLS
    for tool in set(TOOLS) - {"set_faults", "wait_for"}:
        call_tool(server, tool)
