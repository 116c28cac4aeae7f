"""Checks the arguments of `identify()` and encodes them as bytes. Pure."""

from __future__ import annotations

from whisperr._contract import CHANNELS, MAX_ANONYMOUS_ID_CHARS, PUSH_FIELDS
from whisperr.errors import InvalidEvent

from .event import parse_identifier, to_json_object
from .general import MAX_VALUES, quote, to_str
from .layout import IDENTIFY_HEAD
from .redaction import get_type_name, redact
from .to_json import to_json, to_utf8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FLAGS = ("opted_in", "verified")
_CHANNEL_KEYS = {"channel", "type", "address", *_FLAGS, *PUSH_FIELDS}


def encode_identify(
    user: object,
    *,
    traits: object = None,
    email: object = None,
    phone: object = None,
    push_token: object = None,
    preferred_channel: object = None,
    channels: object = None,
    anonymous_id: object = None,
) -> bytes:
    """Return one identify as the bytes of its JSON object; raise InvalidEvent for bad arguments."""
    body = f"{IDENTIFY_HEAD.decode()}{quote(parse_identifier(user, 'external_user_id'))}"
    if anonymous_id is not None:
        handle = parse_identifier(anonymous_id, "anonymous_id")
        if len(handle) > MAX_ANONYMOUS_ID_CHARS:
            allowed = f"1 to {MAX_ANONYMOUS_ID_CHARS} characters"
            raise InvalidEvent(f"anonymous_id: must have {allowed}, got {len(handle)}")
        body += f',"anonymous_id":{quote(handle)}'
    if traits is not None:
        members = to_json_object(traits, "traits")
        if members != "{}":
            body += f',"traits":{members}'
    if preferred_channel is not None:
        chosen = _parse_choice(preferred_channel, CHANNELS, "preferred_channel")
        body += f',"preferred_channel":"{chosen}"'
    if channels is None:
        parsed = _to_channels(email=email, phone=phone, push_token=push_token)
    elif isinstance(channels, (list, tuple)):
        if len(channels) > MAX_VALUES:  # checked before building a dict for each
            raise InvalidEvent(f"channels: more than {MAX_VALUES} values in one event")
        parsed = [_parse_channel(one, f"channels[{index}]") for index, one in enumerate(channels)]
    else:
        raise InvalidEvent(f"channels: must be a list, got {get_type_name(channels)}")
    if parsed:
        body += f',"channels":{to_json(parsed, "channels")}'
    return to_utf8(body + "}")


def _to_channels(**addresses: object) -> list[dict[str, Any]]:
    """Return `email=`, `phone=` and `push_token=` as opted-in channels, in that order.

    A blank address counts as absent: databases often hold "" for a user without a phone number.
    """
    kinds = {"email": "email", "phone": "sms", "push_token": "push"}
    channels = []
    for name, address in addresses.items():
        if address is None:
            continue
        if not isinstance(address, str):
            raise InvalidEvent(f"{name}: must be a string, got {get_type_name(address)}")
        if address.strip():
            channels.append({"channel": kinds[name], "address": address, "opted_in": True})
    return channels


def _parse_channel(given: object, path: str) -> dict[str, Any]:
    """Return one checked channel. Callers may write `type`; the service knows `channel` only."""
    if not isinstance(given, dict):
        raise InvalidEvent(f"{path}: must be a dict, got {get_type_name(given)}")
    for key in given:
        if key not in _CHANNEL_KEYS:
            allowed = ", ".join(sorted(_CHANNEL_KEYS))
            raise InvalidEvent(f"{path}: unknown key {redact(key)}; allowed: {allowed}")
    given = {key: value for key, value in given.items() if value is not None}
    kind = _parse_choice(given.get("channel", given.get("type")), CHANNELS, f"{path}.channel")
    address = given.get("address")
    if not isinstance(address, str) or not address.strip():
        raise InvalidEvent(f"{path}.address: must be a string that is not blank")
    channel: dict[str, Any] = {"channel": kind, "address": address}
    for flag in _FLAGS:
        if flag in given:
            if not isinstance(given[flag], bool):
                raise InvalidEvent(f"{path}.{flag}: must be True or False")
            channel[flag] = given[flag]
    return {**channel, **_parse_push_fields(given, kind, path)}


def _parse_push_fields(given: dict[str, Any], kind: str, path: str) -> dict[str, str]:
    fields = {}
    for name, allowed in PUSH_FIELDS.items():
        if name not in given:
            continue
        if kind != "push":
            raise InvalidEvent(f"{path}.{name}: only a push channel has it")
        value = given[name]
        if not isinstance(value, str) or not value.strip():
            raise InvalidEvent(f"{path}.{name}: must be a string that is not blank")
        fields[name] = _parse_choice(value, allowed, f"{path}.{name}") if allowed else value
    return fields


def _parse_choice(value: object, allowed: tuple[str, ...], name: str) -> str:
    text = to_str(value) if isinstance(value, str) else None
    if text is not None and text in allowed:
        return text
    raise InvalidEvent(f"{name}: must be one of {', '.join(allowed)}, got {redact(value)}")
