"""Hints: one sentence on how to fix a problem, for each key of the contract. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .model import Problem

_FLAG = "Send true or false; leave the key out when it is not known."
_HINTS = {
    "": "Send one JSON object with the keys of the contract.",
    "/external_user_id": "Send the user's id as text: an integer 42 becomes the string 42.",
    "/event_type": "Rename it: lower-case letters and digits, words joined by one underscore.",
    "/properties": "Send an object; when there are none, send {}.",
    "/context": "Send an object that holds $message_id.",
    "/context/$message_id": (
        "Give each event an id of its own when it is created, and keep it for retries."
    ),
    "/traits": "Send an object, or leave the key out.",
    "/anonymous_id": "Send the handle as text of 1 to 128 characters, or leave the key out.",
    "/preferred_channel": "Name the channel email, sms or push, or leave the key out.",
    "/channels": "Send a list of channels, or leave the key out.",
    "/channels/0": "Send each channel as an object with channel and address.",
    "/channels/0/channel": "The key is channel, not type; its value email, sms or push.",
    "/channels/0/address": "Send the address as text; leave out a channel that has none.",
    "/channels/0/opted_in": _FLAG,
    "/channels/0/verified": _FLAG,
}
_PUSH_HINT = "This key is for push channels, with one of its allowed values."


def get_hint(problem: Problem) -> str:
    """Return how to fix a problem, in one sentence."""
    if problem.found == "an unknown key":
        name = problem.pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
        if problem.pointer.startswith("/channels/"):
            return f"Remove {name} from the channel."
        where = "traits" if "traits" in problem.expected else "properties"
        return f"Remove {name}, or move it into {where}."
    if problem.pointer == "/occurred_at":
        if problem.expected.startswith("from"):
            return "Check the clock of the sender; events older than 30 days cannot be sent."
        return "Write it as 2026-06-14T12:00:00.000Z: in UTC, cut to the millisecond."
    pointer = re.sub(r"^/channels/\d+", "/channels/0", problem.pointer)
    return _HINTS.get(pointer, _PUSH_HINT if pointer.startswith("/channels/0/") else _HINTS[""])
