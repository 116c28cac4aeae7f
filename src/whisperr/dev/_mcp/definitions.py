"""What the tools say about themselves: names, descriptions and JSON schemas. Data only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from whisperr.dev._memory.filter import MAX_QUERY_CHARS
from whisperr.dev.faults import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_WAIT = 50  # seconds; some clients give up on a request after 60
DEFAULT_WAIT = 20.0  # longer than the 10 s after which a client sends what it has
MAX_ARRIVALS = 100  # of one answer, which an assistant has to read
DEFAULT_ARRIVALS = 20
_MAX_TEXT_CHARS = 2_000
_MAX_WHOLE = 2**53 - 1  # the largest that every reader of JSON knows exactly
_MAX_FAULTS = 20

Json = dict[str, Any]


def _text(description: str, **more: Any) -> Json:  # noqa: ANN401  # any keyword of JSON schema
    return {"type": "string", "description": description, **more}


def _whole(description: str, low: int = 0, high: int = _MAX_WHOLE) -> Json:
    return {"type": "integer", "minimum": low, "maximum": high, "description": description}


def _object(properties: Json, required: tuple[str, ...] | None = None, **more: Any) -> Json:  # noqa: ANN401  # likewise
    """Return the schema of an object with these properties and no others, all required."""
    needed = list(properties) if required is None else list(required)
    limits = {"required": needed} if needed else {}
    return {
        "type": "object",
        "properties": properties,
        **limits,
        "additionalProperties": False,
        **more,
    }


def _list(items: Json, description: str, **more: Any) -> Json:  # noqa: ANN401  # likewise
    return {"type": "array", "items": items, "description": description, **more}


def _or_null(schema: Json) -> Json:
    return {**schema, "type": [schema["type"], "null"]}


_STATUSES = ["accepted", "duplicate", "refused"]
_FILTERS: Json = {
    "kind": _text("Only events, or only identifies.", enum=["event", "identify"]),
    "user": _text("Only arrivals of this external_user_id.", maxLength=_MAX_TEXT_CHARS),
    "type": _text(
        "Only this event type; * matches any text, as in payment_*.", maxLength=_MAX_TEXT_CHARS
    ),
    "status": _text(
        "Only arrivals with this status. A duplicate has a message id that had arrived before.",
        enum=_STATUSES,
    ),
    "q": _text(
        "Terms that must all match, as in the filter box of the page: type:payment_* user:42 "
        'amount>100 plan=pro -plan=pro context.app_version=2.1 "card declined".',
        maxLength=MAX_QUERY_CHARS,
    ),
    "after": _whole("Only arrivals with a larger seq: pass the `last` of an earlier answer."),
}
_PROBLEM = _object(
    {
        "pointer": _text("Where it is in the body, as a JSON pointer; empty for the body itself."),
        "found": _text("What arrived there."),
        "expected": _text("What is allowed there."),
        "fix": _text("How to fix it."),
    }
)
_PROBLEMS = _list(_PROBLEM, "Why it was refused; empty if it was not.")
_RECEIVED_AT = {"type": "number", "description": "Seconds since 1970."}
_ARRIVAL = _object(
    {
        "seq": _whole("Its number among all arrivals, from 1."),
        "received_at": _RECEIVED_AT,
        "kind": _text("event or identify.", enum=["event", "identify"]),
        "status": _text("What the server did with it.", enum=_STATUSES),
        "user": _or_null(_text("Its external_user_id.")),
        "type": _or_null(_text("Its event type; null for an identify.")),
        "request": _whole("The number of its request."),
        "index": _whole("Its position in the request, from 0."),
        "message_id": _or_null(_text("By which the service recognises a duplicate.")),
        "body": {"description": "What was sent; null if `cut`."},
        "problems": _PROBLEMS,
        "cut": {"type": "boolean", "description": "Whether the body is too large to show."},
    }
)
_LAST = _whole("The seq of the latest arrival of all: pass it as `after` to see only later ones.")
_ARRIVALS = _list(_ARRIVAL, "The latest of the arrivals that match, oldest first.")
_REFUSAL = _object(
    {
        "kind": _text(
            "What was refused: one event, one identify, or a request as a whole.",
            enum=["event", "identify", "request"],
        ),
        "seq": _or_null(_whole("The number of the arrival; null for a request.")),
        "request": _whole("The number of the request."),
        "received_at": _RECEIVED_AT,
        "user": _or_null(_text("Its external_user_id.")),
        "type": _or_null(_text("Its event type.")),
        "method": _or_null(_text("Of the request; null if the server no longer has it.")),
        "path": _or_null(_text("Likewise.")),
        "agent": _or_null(_text("The User-Agent of the client.")),
        "status": _or_null(_whole("The HTTP status of the answer; null if there was none.")),
        "error": _or_null(_text("The code of a request that was refused as a whole.")),
        "reason": _text("Why it was refused."),
        "fix": _or_null(_text("How to fix a request that was refused as a whole.")),
        "problems": _PROBLEMS,
        "sent": _or_null(_text("Exactly what was sent, cut if it is very long.")),
    }
)
_FAULT_FIELDS: Json = {
    "kind": _text(
        "status: answer with `code` and accept nothing. latency: wait `seconds` first. hang: never "
        "answer. cut: accept nothing and cut the connection. lose_answer: accept, then cut the "
        "connection. drip: send the answer byte by byte, `seconds` apart. legacy: refuse a whole "
        "batch for one bad event.",
        enum=list(KINDS),
    ),
    "rate": {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1,
        "description": "The share of requests that meet it (default: 1).",
    },
    "times": _or_null(_whole("How many requests meet it (default: null, no limit).", 1)),
    "code": _whole("Of status: the HTTP status (default: 503).", 300, 599),
    "retry_after": _or_null(_text("Of status: the header Retry-After.", maxLength=200)),
    "location": _or_null(_text("Of status: the header Location.", maxLength=200)),
    "seconds": {
        "type": "number",
        "minimum": 0,
        "maximum": 3600,
        "description": "Of latency and drip (default: 0.1).",
    },
    "path": _or_null(_text("Only requests to this path meet it.", maxLength=200)),
}
_FAULTS = _list(_object(_FAULT_FIELDS, ("kind",)), "The faults to inject.", maxItems=_MAX_FAULTS)
_COUNTS: Json = {
    "count": _whole("How many arrived."),
    "accepted": _whole("How many of them were accepted."),
    "duplicates": _whole("How many had arrived before."),
    "refused": _whole("How many were refused."),
    "first_received_at": _RECEIVED_AT,
    "last_received_at": _RECEIVED_AT,
    "properties": _list(
        _object(
            {
                "name": _text("The name of a property, or of a trait of an identify."),
                "count": _whole("How many arrivals have it."),
                "types": {
                    "type": "object",
                    "additionalProperties": {"type": "integer"},
                    "description": "JSON types, with how many values have each.",
                },
            }
        ),
        "In the order of their names. No value is shown.",
    ),
}

_READS = {"readOnlyHint": True, "openWorldHint": False}
_WRITES = {
    "readOnlyHint": False,
    "destructiveHint": False,
    "idempotentHint": True,
    "openWorldHint": False,
}


def _tool(
    name: str, title: str, description: str, given: Json, answer: Json, hints: Json = _READS
) -> Json:
    return {
        "name": name,
        "title": title,
        "description": description,
        "inputSchema": given,
        "outputSchema": answer,
        "annotations": {"title": title, **hints},
    }


DEFINITIONS: Mapping[str, Json] = {
    tool["name"]: tool
    for tool in (
        _tool(
            "arrivals",
            "List what has arrived",
            "Return the events and identifies that have arrived at the local server and match all "
            "filters, with their bodies and with the problems of refused ones.",
            _object(
                {
                    **_FILTERS,
                    "limit": _whole(
                        f"How many to return, the latest (default: {DEFAULT_ARRIVALS}).",
                        1,
                        MAX_ARRIVALS,
                    ),
                },
                (),
            ),
            _object(
                {
                    "arrivals": _ARRIVALS,
                    "matched": _whole("How many match, of those that the server still has."),
                    "last": _LAST,
                }
            ),
        ),
        _tool(
            "explain_refusal",
            "Explain why something was refused",
            "Return why an event, an identify or a whole request was refused, how to fix each "
            "problem, and exactly what was sent. Without seq, of the latest refusal; the service "
            "would refuse it for the same reasons.",
            _object({"seq": _whole("The seq of a refused arrival (default: the latest).", 1)}, ()),
            _object({"refusal": _or_null(_REFUSAL)}),
        ),
        _tool(
            "wait_for",
            "Wait until an event arrives",
            "Wait until enough arrivals match all filters, and return whether they came in time. "
            "This proves that an instrumented application sends an event. Arrivals that are there "
            "already count, so pass `after`. Matches accepted arrivals unless status says "
            "otherwise.",
            _object(
                {
                    "count": _whole("How many arrivals to wait for (default: 1).", 1, 10_000),
                    "timeout": {
                        "type": "number",
                        "minimum": 0,
                        "maximum": MAX_WAIT,
                        "description": f"Seconds to wait at most (default: {DEFAULT_WAIT:g}).",
                    },
                    **_FILTERS,
                },
                (),
            ),
            _object(
                {
                    "reached": {"type": "boolean", "description": "Whether enough arrived."},
                    "count": _whole("How many match."),
                    "refused": _whole("How many match but were refused."),
                    "waited": {"type": "number", "description": "Seconds."},
                    "arrivals": _ARRIVALS,
                    "last": _LAST,
                    "hint": _or_null(_text("What to do if not enough arrived.")),
                }
            ),
        ),
        _tool(
            "set_faults",
            "Inject faults",
            "Replace the faults that the server injects into the requests of the application, to "
            "see how it behaves in an outage; an empty list injects none. Return those that are "
            "on.",
            _object({"faults": _FAULTS}),
            _object(
                {
                    "faults": _list(
                        _object(_FAULT_FIELDS), "Those that are on.", maxItems=_MAX_FAULTS
                    )
                }
            ),
            _WRITES,
        ),
        _tool(
            "types",
            "Describe the event types",
            "Return the event types that have arrived, with their counts and the names and JSON "
            "types of their properties, to compare with a tracking plan. It shows no values.",
            _object({}),
            _object(
                {
                    "types": _list(
                        _object({"type": _text("The event type."), **_COUNTS}), "In order."
                    ),
                    "identifies": _or_null(_object(_COUNTS)),
                    "left_out": _whole("How many more types there are."),
                    "inspected": _whole("How many arrivals this is made of: those still kept."),
                    "last": _LAST,
                }
            ),
        ),
    )
}
