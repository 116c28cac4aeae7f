"""The tools: what an assistant can ask the local server, and change.

Each function takes checked arguments and returns the structured result. A ValueError is a mistake
of the caller, such as a wrong filter; its text says what is allowed.
"""

from __future__ import annotations

import json
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from whisperr.dev._ingest.service import get_request_hint
from whisperr.dev._memory.to_json import (
    MAX_NAME_CHARS,
    arrival_to_json,
    arrival_to_text,
    decode,
    find_arrival,
    find_request,
    find_sent_text,
    shorten_problems,
)
from whisperr.dev.faults import Fault

from .definitions import DEFAULT_ARRIVALS, DEFAULT_WAIT, DEFINITIONS
from .event_types import describe_types
from .schema import find_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from whisperr.dev._ingest.model import Arrival, ReceivedRequest
    from whisperr.dev._memory.arrivals import Arrivals
    from whisperr.dev.faults import FaultInjector

_FILTERS = ("kind", "user", "type", "status", "q", "after")
_MAX_ARRIVAL_CHARS = 4_000  # of one with its body; longer ones are cut
_MAX_SENT_CHARS = 8_000
_POLL_INTERVAL = 0.5  # seconds after which a wait notices that its client has gone


class Source(NamedTuple):
    """The local server that the tools read and change."""

    memory: Arrivals
    injector: FaultInjector
    url: str
    any_key: bool

    def describe_start(self) -> str:
        """Return how to start an application that sends to this server."""
        key = "WHISPERR_API_KEY=wrk_dev" if self.any_key else "WHISPERR_API_KEY set to its --key"
        return f"WHISPERR_BASE_URL={self.url} and {key}"


class Call(NamedTuple):
    """One call: its server, and when to stop waiting."""

    source: Source
    is_cancelled: Callable[[], bool]
    deadline: float  # of all waits, by the monotonic clock

    def wait(self, reached: Callable[[], bool], timeout: float) -> bool:
        """Wait until `reached()` is true, the time is over, or the client has gone."""
        end = min(monotonic() + timeout, self.deadline)
        while True:
            left = end - monotonic()
            if self.source.memory.wait_until(reached, min(max(left, 0.0), _POLL_INTERVAL)):
                return True
            if left <= 0 or self.is_cancelled():
                return False


def call_tool(call: Call, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the structured result of a tool; raises ValueError for wrong arguments."""
    problem = find_problem(arguments, DEFINITIONS[name]["inputSchema"])
    if problem is not None:
        raise ValueError(problem)
    return _FUNCTIONS[name](call, arguments)


def _arrivals(call: Call, arguments: Mapping[str, Any]) -> dict[str, Any]:
    memory = call.source.memory
    found = memory.arrivals(**_select_filters(arguments))
    limit = int(arguments.get("limit", DEFAULT_ARRIVALS))
    return {
        "arrivals": _to_json(found[-limit:]),
        "matched": len(found),
        "last": memory.cursor().seq,
    }


def _explain_refusal(call: Call, arguments: Mapping[str, Any]) -> dict[str, Any]:
    memory = call.source.memory
    if "seq" not in arguments:
        arrivals = memory.arrivals(status="refused")
        requests = [one for one in memory.requests() if _is_refused_whole(one)]
        last_request = requests[-1].number if requests else 0
        if arrivals and arrivals[-1].request >= last_request:
            return {"refusal": _explain_arrival(memory, arrivals[-1])}
        return {"refusal": _explain_request(requests[-1]) if requests else None}
    seq = int(arguments["seq"])
    found = find_arrival(memory, seq)
    if found is None:
        raise ValueError(f"seq={seq}: the server does not have it, or no longer has it")
    if found.status != "refused":
        raise ValueError(f"seq={seq}: was not refused; its status is {found.status}")
    return {"refusal": _explain_arrival(memory, found)}


def _is_refused_whole(request: ReceivedRequest) -> bool:
    arrived = request.accepted + request.duplicates + request.refused
    return request.error is not None and not arrived


def _explain_arrival(memory: Arrivals, arrival: Arrival) -> dict[str, Any]:
    request = find_request(memory, arrival.request)
    sent = None if request is None else find_sent_text(request, arrival)
    problems = shorten_problems(arrival_to_json(arrival)["problems"])
    return {
        "kind": arrival.kind,
        "seq": arrival.seq,
        "request": arrival.request,
        "received_at": arrival.received_at,
        "user": _cut(arrival.user),
        "type": _cut(arrival.type),
        **_describe_request(request),
        "error": None,
        "reason": "; ".join(_cut(str(one)) or "" for one in arrival.problems[: len(problems)]),
        "fix": None,
        "problems": problems,
        "sent": _cut(sent, _MAX_SENT_CHARS),
    }


def _explain_request(request: ReceivedRequest) -> dict[str, Any]:
    return {
        "kind": "request",
        "seq": None,
        "request": request.number,
        "received_at": request.received_at,
        "user": None,
        "type": None,
        **_describe_request(request),
        "error": request.error,
        "reason": request.reason or "refused",
        "fix": get_request_hint(request.error),
        "problems": [],
        "sent": _cut(decode(request.body), _MAX_SENT_CHARS),
    }


def _describe_request(request: ReceivedRequest | None) -> dict[str, Any]:
    if request is None:
        return dict.fromkeys(("method", "path", "agent", "status"))
    return {
        "method": _cut(request.method),
        "path": _cut(request.path),
        "agent": _cut(request.headers.get("user-agent")),
        "status": request.status,
    }


def _wait_for(call: Call, arguments: Mapping[str, Any]) -> dict[str, Any]:
    memory, count = call.source.memory, int(arguments.get("count", 1))
    filters = {"status": "accepted", **_select_filters(arguments)}
    memory.arrivals(**filters)  # a wrong filter is an error at once, and not after a wait
    start = monotonic()
    reached = call.wait(
        lambda: len(memory.arrivals(**filters)) >= count, arguments.get("timeout", DEFAULT_WAIT)
    )
    waited = round(monotonic() - start, 3)
    found = memory.arrivals(**filters)
    refused = len(memory.arrivals(**{**filters, "status": "refused"}))
    return {
        "reached": reached,
        "count": len(found),
        "refused": refused,
        "waited": waited,
        "arrivals": _to_json(found[-DEFAULT_ARRIVALS:]),
        "last": memory.cursor().seq,
        "hint": None if reached else _get_hint(call.source, filters, len(found), refused),
    }


def _get_hint(source: Source, filters: Mapping[str, Any], found: int, refused: int) -> str:
    """Return what to do when not enough has arrived."""
    last, latest = source.memory.cursor().seq, source.memory.requests()[-1:]
    if filters.get("after", 0) > last:
        return f"after is larger than last, {last}: the server was cleared; pass a smaller number."
    if refused:
        return f"{refused} that match were refused: call explain_refusal."
    if not latest:
        return (
            "No request has reached this server. Start the application with "
            f"{source.describe_start()}, and check that the code that tracks has run: the client "
            "sends after 10 seconds, with 20 events, at flush(), and when the process ends."
        )
    if latest[0].error is not None:
        return "The latest request was refused or failed as a whole: call explain_refusal."
    return f"{found} match: compare the filters with the answer of arrivals or types."


def _set_faults(call: Call, arguments: Mapping[str, Any]) -> dict[str, Any]:
    injector = call.source.injector
    injector.set([Fault.from_json(fault) for fault in arguments["faults"]])
    return {"faults": [dict(fault.to_json()) for fault in injector.faults]}


def _types(call: Call, _: Mapping[str, Any]) -> dict[str, Any]:
    memory = call.source.memory
    found = memory.arrivals()
    return {**describe_types(found), "inspected": len(found), "last": memory.cursor().seq}


def _select_filters(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: arguments[name] for name in _FILTERS if name in arguments}


def _to_json(arrivals: list[Arrival]) -> list[Any]:
    return [json.loads(arrival_to_text(one, _MAX_ARRIVAL_CHARS)) for one in arrivals]


def _cut(text: str | None, longest: int = MAX_NAME_CHARS) -> str | None:
    return text if text is None or len(text) <= longest else f"{text[: longest - 1]}…"


_FUNCTIONS: Mapping[str, Callable[[Call, Mapping[str, Any]], dict[str, Any]]] = {
    "arrivals": _arrivals,
    "explain_refusal": _explain_refusal,
    "wait_for": _wait_for,
    "set_faults": _set_faults,
    "types": _types,
}
