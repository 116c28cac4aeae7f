"""Step 2 for identify: check the user's traits and channels, encode them. Pure."""

from __future__ import annotations

from whisperr._contract import CHANNELS, PUSH_FIELDS
from whisperr.errors import InvalidEvent

from .event import parse_identifier, shown, to_json_object
from .layout import IDENTIFY_HEAD
from .to_json import quote, to_json, to_utf8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX_ANONYMOUS_ID = 128
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
    """Return one identify as the bytes of its JSON object; raises InvalidEvent."""
    body = f"{IDENTIFY_HEAD.decode()}{quote(parse_identifier(user, 'external_user_id'))}"
    if anonymous_id is not None:
        body += f',"anonymous_id":{quote(_anonymous(anonymous_id))}'
    if traits is not None:
        members = to_json_object(traits, "traits")
        if members != "{}":
            body += f',"traits":{members}'
    if preferred_channel is not None:
        chosen = _one_of(preferred_channel, CHANNELS, "preferred_channel")
        body += f',"preferred_channel":"{chosen}"'
    if channels is None:
        listed = _shortcuts(email=email, phone=phone, push_token=push_token)
    else:
        listed = _listed(channels)
    if listed:
        body += f',"channels":{to_json(listed, "channels")}'
    return to_utf8(body + "}")


def _anonymous(value: object) -> str:
    text = parse_identifier(value, "anonymous_id")
    if len(text) > _MAX_ANONYMOUS_ID:
        raise InvalidEvent(
            f"anonymous_id: must have 1 to {_MAX_ANONYMOUS_ID} characters, got {len(text)}"
        )
    return text


def _shortcuts(**addresses: object) -> list[dict[str, Any]]:
    """Turn `email=`, `phone=`, `push_token=` into opted-in channels, in that order.

    A blank one is as good as none: a user record without a phone number holds "".
    """
    kinds = {"email": "email", "phone": "sms", "push_token": "push"}
    listed = []
    for name, address in addresses.items():
        if address is None:
            continue
        if not isinstance(address, str):
            raise InvalidEvent(f"{name}: must be a string, got {type(address).__name__}")
        if address.strip():
            listed.append({"channel": kinds[name], "address": address, "opted_in": True})
    return listed


def _listed(channels: object) -> list[dict[str, Any]]:
    if not isinstance(channels, (list, tuple)):
        raise InvalidEvent(f"channels: must be a list, got {type(channels).__name__}")
    return [_channel(given, f"channels[{index}]") for index, given in enumerate(channels)]


def _channel(given: object, path: str) -> dict[str, Any]:
    """Check one channel; callers may write `type` for `channel`, the wire knows `channel` only."""
    if not isinstance(given, dict):
        raise InvalidEvent(f"{path}: must be a dict, got {type(given).__name__}")
    unknown = [str(key) for key in given if key not in _CHANNEL_KEYS]
    if unknown:
        raise InvalidEvent(f"{path}: unknown key {unknown[0]!r}; allowed: {_named(_CHANNEL_KEYS)}")
    given = {key: value for key, value in given.items() if value is not None}
    kind = _one_of(given.get("channel", given.get("type")), CHANNELS, f"{path}.channel")
    address = given.get("address")
    if not isinstance(address, str) or not address.strip():
        raise InvalidEvent(f"{path}.address: must be a string that is not blank")
    channel: dict[str, Any] = {"channel": kind, "address": address}
    for flag in _FLAGS:
        if flag in given:
            if not isinstance(given[flag], bool):
                raise InvalidEvent(f"{path}.{flag}: must be True or False")
            channel[flag] = given[flag]
    return {**channel, **_push_fields(given, kind, path)}


def _push_fields(given: dict[str, Any], kind: str, path: str) -> dict[str, str]:
    fields = {}
    for name, allowed in PUSH_FIELDS.items():
        if name not in given:
            continue
        if kind != "push":
            raise InvalidEvent(f"{path}.{name}: only a push channel has it")
        value = given[name]
        if not isinstance(value, str) or not value.strip():
            raise InvalidEvent(f"{path}.{name}: must be a string that is not blank")
        fields[name] = _one_of(value, allowed, f"{path}.{name}") if allowed else value
    return fields


def _one_of(value: object, allowed: tuple[str, ...], name: str) -> str:
    if isinstance(value, str) and value in allowed:
        return str.__str__(value)
    raise InvalidEvent(f"{name}: must be one of {', '.join(allowed)}, got {shown(value)}")


def _named(keys: set[str]) -> str:
    return ", ".join(sorted(keys))
