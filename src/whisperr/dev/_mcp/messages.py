"""The messages of JSON-RPC 2.0, as the Model Context Protocol restricts them. Pure.

A request has an id that is a string or a whole number; a notification has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
# Of the Model Context Protocol, since 2026-07-28.
HEADER_MISMATCH = -32020
UNSUPPORTED_VERSION = -32022


class ProtocolError(Exception):
    """Raised to answer a message with an error."""

    def __init__(self, code: int, message: str, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


class Message(NamedTuple):
    """A request, or a notification, whose `id` is None."""

    id: str | int | None
    method: str
    params: Mapping[str, Any]

    @property
    def meta(self) -> Mapping[str, Any]:
        """The metadata of a request; empty without any."""
        meta = self.params.get("_meta")
        return meta if isinstance(meta, dict) else {}


def parse_message(value: object) -> Message:
    """Return the message that a decoded JSON value stands for; raises ProtocolError."""
    if not isinstance(value, dict):
        raise ProtocolError(INVALID_REQUEST, "a message must be a JSON object")
    if value.get("jsonrpc") != "2.0":
        raise ProtocolError(INVALID_REQUEST, 'jsonrpc: must be "2.0"')
    number = value.get("id")
    if "id" in value and (isinstance(number, bool) or not isinstance(number, (str, int))):
        raise ProtocolError(INVALID_REQUEST, "id: must be a string or a whole number")
    method, params = value.get("method"), value.get("params", {})
    if not isinstance(method, str):
        raise ProtocolError(INVALID_REQUEST, "method: must be a string")
    if not isinstance(params, dict):
        raise ProtocolError(INVALID_PARAMS, "params: must be an object")
    return Message(number, method, params)


def get_id(value: object) -> str | int | None:
    """Return the id for the answer to a message that may be wrong; None if it has none."""
    number = value.get("id") if isinstance(value, dict) else None
    return number if isinstance(number, (str, int)) and not isinstance(number, bool) else None


def to_result(number: str | int | None, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the response to a request that succeeded."""
    return {"jsonrpc": "2.0", "id": number, "result": result}


def to_error(number: str | int | None, error: ProtocolError) -> dict[str, Any]:
    """Return the response to a message that failed; `id` is null if it could not be read."""
    fields: dict[str, Any] = {"code": error.code, "message": str(error)}
    if error.data is not None:
        fields["data"] = error.data
    return {"jsonrpc": "2.0", "id": number, "error": fields}
