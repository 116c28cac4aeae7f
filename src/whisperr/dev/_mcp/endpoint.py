"""The MCP endpoint: the answer to each POST at `/mcp`, in every published protocol version.

Versions up to 2025-11-25 begin with `initialize`. From 2026-07-28 there is no handshake: each
request names its version in `_meta` and repeats what it asks for in headers. A request with that
metadata is served by the newer rules, any other by the older ones, so that clients of both kinds
can use the server at once. No version needs a session here: nothing is kept between two requests.

Source: "Streamable HTTP" and "Versioning" of the specification at modelcontextprotocol.io, in the
versions 2025-03-26 to 2026-07-28. Threads: those of the connections call `answer`.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from whisperr._foreign import printable
from whisperr._version import __version__
from whisperr.dev._ingest.service import Response
from whisperr.dev._ingest.validation import Malformed, parse_body

from . import messages
from .definitions import DEFINITIONS, MAX_WAIT
from .messages import Message, ProtocolError
from .tools import Call, Source, call_tool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from email.message import Message as Headers

PATH = "/mcp"
MAX_BODY_BYTES = 1024 * 1024
HANDSHAKE_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
STATELESS_VERSIONS = ("2026-07-28",)
VERSION_HEADER = "MCP-Protocol-Version"
METHOD_HEADER = "Mcp-Method"
NAME_HEADER = "Mcp-Name"
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"

_SUPPORTED = (*STATELESS_VERSIONS, *reversed(HANDSHAKE_VERSIONS))
_BATCH_VERSION = "2025-03-26"  # also assumed without the header; later ones have no batches
_MAX_BATCH = 20
_CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
_SERVER_KEY = "io.modelcontextprotocol/serverInfo"
_SERVER = {"name": "whisperr-dev", "title": "Whisperr local server", "version": __version__}
_CAPABILITIES: Mapping[str, Any] = {"tools": {}}
_CACHED = {"ttlMs": 300_000, "cacheScope": "public"}  # the tools change with the version only
_BASE64 = ("=?base64?", "?=")
_MAX_SHOWN_CHARS = 60
_BAD_REQUEST = 400
# The status of an error. By the older rules, an error of a method has 200.
_STATUSES = {messages.METHOD_NOT_FOUND: 404}
_ENVELOPE_ERRORS = (
    *(messages.PARSE_ERROR, messages.INVALID_REQUEST),
    *(messages.HEADER_MISMATCH, messages.UNSUPPORTED_VERSION),
)


def answer(
    source: Source, headers: Headers, body: bytes, is_cancelled: Callable[[], bool]
) -> Response:
    """Return the response to one POST. `is_cancelled()` is whether to stop waiting."""
    call = Call(source, is_cancelled, monotonic() + MAX_WAIT)
    try:
        value = parse_body(body)
        versions = headers.get_all(VERSION_HEADER, [])
        if isinstance(value, list):
            return _answer_batch(call, value, versions)
    except Malformed as error:
        return _refuse(ProtocolError(messages.PARSE_ERROR, str(error)))
    except ProtocolError as error:
        return _refuse(error)
    is_stateless = _is_stateless(value, versions)
    status, reply = _answer_one(call, value, headers if is_stateless else None, versions)
    return _to_response(status, reply)


def _answer_batch(call: Call, values: list[Any], versions: list[str]) -> Response:
    if versions not in ([], [_BATCH_VERSION]):
        raise ProtocolError(messages.INVALID_REQUEST, "send one message at a time, not a list")
    if not 0 < len(values) <= _MAX_BATCH:
        raise ProtocolError(
            messages.INVALID_REQUEST, f"a list must have 1 to {_MAX_BATCH} messages"
        )
    replies = [_answer_one(call, value, None, versions)[1] for value in values]
    answers = [reply for reply in replies if reply is not None]
    return _to_response(200 if answers else 202, answers or None)


def _is_stateless(value: object, versions: list[str]) -> bool:
    """Return whether a message follows the rules of 2026-07-28, even if it breaks one of them."""
    params = value.get("params") if isinstance(value, dict) else None
    meta = params.get("_meta") if isinstance(params, dict) else None
    if isinstance(value, dict) and value.get("method") == "initialize":
        return False
    is_marked = isinstance(meta, dict) and VERSION_KEY in meta
    return is_marked or not set(versions).isdisjoint(STATELESS_VERSIONS)


def _answer_one(
    call: Call, value: object, headers: Headers | None, versions: list[str]
) -> tuple[int, dict[str, Any] | None]:
    """Return the status and the reply to one message; `headers` are None by the older rules."""
    number = messages.get_id(value)
    try:
        if headers is None and _is_response(value):
            return 202, None  # to a request that this server never makes
        message = messages.parse_message(value)
        if message.id is None:
            _check_version(versions)
            return 202, None
        if headers is None:
            _check_version(versions)
            result = _call_by_handshake(call, message)
        else:
            _check_envelope(message, headers)
            result = _call_statelessly(call, message)
    except ProtocolError as error:
        status = _BAD_REQUEST if headers is not None or error.code in _ENVELOPE_ERRORS else 200
        if headers is not None:
            status = _STATUSES.get(error.code, status)
        return status, messages.to_error(number, error)
    return 200, messages.to_result(number, result)


def _is_response(value: object) -> bool:
    return (
        isinstance(value, dict)
        and "method" not in value
        and ("result" in value or "error" in value)
    )


def _check_version(versions: list[str]) -> None:
    """Check the header of a message that names its version there only, or not at all."""
    if len(versions) > 1 or not set(versions).issubset(_SUPPORTED):
        raise _unsupported(", ".join(versions))


def _check_envelope(message: Message, headers: Headers) -> None:
    """Check the metadata of a request from 2026-07-28 on, and that the headers agree with it."""
    for key in (VERSION_KEY, _CAPABILITIES_KEY):
        if key not in message.meta:
            raise ProtocolError(messages.INVALID_PARAMS, f"params._meta: {key} is missing")
    version, name = message.meta[VERSION_KEY], message.params.get("name")
    expected = {VERSION_HEADER: version, METHOD_HEADER: message.method}
    if message.method == "tools/call" and isinstance(name, str):
        expected[NAME_HEADER] = name
    for header, value in expected.items():
        given = [_decode_header(text) for text in headers.get_all(header, [])]
        if given != [value]:
            shown = printable(", ".join(given) or "nothing", _MAX_SHOWN_CHARS)
            text = f"the header {header} is {shown}; the body of the request says otherwise"
            raise ProtocolError(messages.HEADER_MISMATCH, text)
    if version not in STATELESS_VERSIONS:
        raise _unsupported(version)


def to_header(value: str) -> str:
    """Return a value as a header has it: in Base64 if it would not survive the way."""
    is_plain = value.isascii() and value.isprintable() and value == value.strip()
    if is_plain and not value.startswith(_BASE64[0]):
        return value
    return b64encode(value.encode("utf-8", "replace")).decode().join(_BASE64)


def _decode_header(text: str) -> str:
    """Return the value that `to_header` wrote."""
    if text.startswith(_BASE64[0]) and text.endswith(_BASE64[1]):
        with suppress(ValueError):
            return b64decode(text[len(_BASE64[0]) : -len(_BASE64[1])], validate=True).decode()
    return text


def _unsupported(version: object) -> ProtocolError:
    data = {"supported": _SUPPORTED, "requested": printable(str(version), _MAX_SHOWN_CHARS)}
    return ProtocolError(messages.UNSUPPORTED_VERSION, "Unsupported protocol version", data)


def _call_by_handshake(call: Call, message: Message) -> dict[str, Any]:
    if message.method == "initialize":
        requested = message.params.get("protocolVersion")
        if not isinstance(requested, str):
            raise ProtocolError(messages.INVALID_PARAMS, "protocolVersion: must be a string")
        is_known = requested in HANDSHAKE_VERSIONS
        return {
            "protocolVersion": requested if is_known else HANDSHAKE_VERSIONS[-1],
            "capabilities": _CAPABILITIES,
            "serverInfo": _SERVER,
            "instructions": get_instructions(call.source),
        }
    if message.method == "ping":
        return {}
    return _call_tools(call, message)


def _call_statelessly(call: Call, message: Message) -> dict[str, Any]:
    if message.method == "server/discover":
        result: dict[str, Any] = {
            "supportedVersions": _SUPPORTED,
            "capabilities": _CAPABILITIES,
            "instructions": get_instructions(call.source),
        }
    else:
        result = _call_tools(call, message)
    cached = {} if message.method == "tools/call" else _CACHED
    return {"resultType": "complete", **result, **cached, "_meta": {_SERVER_KEY: _SERVER}}


def _call_tools(call: Call, message: Message) -> dict[str, Any]:
    """Answer the two methods that all versions have."""
    params = message.params
    if message.method == "tools/list":
        if params.get("cursor") is not None:
            raise ProtocolError(messages.INVALID_PARAMS, "cursor: unknown; there is one page")
        return {"tools": list(DEFINITIONS.values())}
    if message.method != "tools/call":
        method = printable(message.method, _MAX_SHOWN_CHARS)
        raise ProtocolError(messages.METHOD_NOT_FOUND, f"Method not found: {method}")
    name, arguments = params.get("name"), params.get("arguments", {})
    if not isinstance(name, str) or name not in DEFINITIONS:
        shown, known = printable(str(name), _MAX_SHOWN_CHARS), ", ".join(DEFINITIONS)
        raise ProtocolError(messages.INVALID_PARAMS, f"Unknown tool: {shown}; there are {known}")
    if not isinstance(arguments, dict):
        raise ProtocolError(messages.INVALID_PARAMS, "arguments: must be an object")
    try:
        result = call_tool(call, name, arguments)
    except ValueError as error:  # a result, so that the model sees it and corrects itself
        return {"content": [{"type": "text", "text": str(error)}], "isError": True}
    text = json.dumps(result, ensure_ascii=False)
    return {
        "content": [{"type": "text", "text": text}],
        "structuredContent": result,
        "isError": False,
    }


def get_instructions(source: Source) -> str:
    """Return what a client tells its model about this server."""
    return f"""\
This is `whisperr dev`: it receives the events of an application on this machine, validates them \
as the Whisperr service does, and forwards nothing. Use it to instrument an application and to \
prove that its events arrive:
1. Call `arrivals` and keep `last`.
2. Start the application with {source.describe_start()}, and do what should send the event. The \
client sends after 10 seconds, with 20 events, at flush(), and when the process ends.
3. Call `wait_for` with the event type, the user and after=`last`. `reached: true` is the proof.
4. If it was not reached, follow `hint`: `explain_refusal` says what was wrong and how to fix it.
5. Compare `types` with the tracking plan.
6. To see how the application behaves in an outage, call `set_faults`, and again with [] to end it.
"""


def _refuse(error: ProtocolError) -> Response:
    return _to_response(_BAD_REQUEST, messages.to_error(None, error))


def _to_response(status: int, reply: object) -> Response:
    """Return a response; a lone surrogate, which UTF-8 does not have, becomes a question mark."""
    text = "" if reply is None else json.dumps(reply, ensure_ascii=False, allow_nan=False)
    return Response(status, text.encode("utf-8", "replace"))
