"""Hints: one sentence on how to fix a problem, for each key of the contract. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .model import Problem

_HINTS = (
    (r"/external_user_id", "Send the user's id as text: an integer 42 becomes the string 42."),
    (r"/event_type", "Rename it: lower-case letters and digits, words joined by one underscore."),
    (r"/properties", "Send an object; when there are none, send {}."),
    (
        r"/context/\$message_id",
        "Give each event an id of its own when it is created, and keep it for retries.",
    ),
    (r"/context", "Send an object that holds $message_id."),
    (r"/traits", "Send an object, or leave the key out."),
    (r"/anonymous_id", "Send the handle as text of 1 to 128 characters, or leave the key out."),
    (r"/preferred_channel", "Name the channel email, sms or push, or leave the key out."),
    (r"/channels", "Send a list of channels, or leave the key out."),
    (r"/channels/\d+", "Send each channel as an object with channel and address."),
    (r"/channels/\d+/channel", "The key is channel, not type; its value email, sms or push."),
    (r"/channels/\d+/address", "Send the address as text; leave out a channel that has none."),
    (
        r"/channels/\d+/(opted_in|verified)",
        "Send true or false; leave the key out when it is not known.",
    ),
    (r"/channels/\d+/\w+", "This key is for push channels, with one of its allowed values."),
    (r"", "Send one JSON object with the keys of the contract."),
)
_PATTERNS = tuple((re.compile(pattern), hint) for pattern, hint in _HINTS)


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
    return next(
        (hint for pattern, hint in _PATTERNS if pattern.fullmatch(problem.pointer)), _HINTS[-1][1]
    )
