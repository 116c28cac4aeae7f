"""Helpers that make the channels of `identify(channels=[...])`. Plain dictionaries work as well.

.. versionadded:: 1.0
"""

from __future__ import annotations

from typing import Literal, TypedDict

__all__ = ["Channel", "ChannelFields", "ChannelName", "Platform", "PushEnvironment", "PushKind"]

ChannelName = Literal["email", "sms", "push"]
"""The kinds of channels."""
PushKind = Literal["fcm", "apns", "expo", "onesignal_sub"]
"""The push services."""
Platform = Literal["ios", "android", "web", "macos", "windows", "linux"]
"""The platforms of push devices."""
PushEnvironment = Literal["production", "sandbox"]
"""The environments of a push service."""


class ChannelFields(TypedDict, total=False):
    """One channel of a user, as `identify` takes it.

    `channel` (or `type`) and `address` are required. A key with the value None is not sent.

    Attributes:
        channel: The kind of the channel: `"email"`, `"sms"` or `"push"`.
        type: Another name of `channel`. The client sends `channel`.
        address: The e-mail address, phone number or device token.
        opted_in: Whether the user agreed to messages on this channel. Without it, the server opts
            in a new e-mail address, keeps the decision of a known one, and never opts in a phone
            number.
        verified: Whether you verified that the address belongs to the user.
        kind: Of a push channel: the service that the device token is for.
        platform: Of a push channel: the platform of the device.
        push_env: Of a push channel: whether the token is for production or for the sandbox.
        client_app_id: Of a push channel: your id of the app, any string.
        provider_project: Of a push channel: the project at the push service, any string.
    """

    channel: ChannelName
    type: ChannelName
    address: str
    opted_in: bool | None
    verified: bool | None
    kind: PushKind | None
    platform: Platform | None
    push_env: PushEnvironment | None
    client_app_id: str | None
    provider_project: str | None


class Channel:
    """Makes the dictionaries that `identify(channels=[...])` takes.

    An argument that is left out is not sent.

    Example::

        whisperr.identify(
            "user_8842",
            channels=[Channel.email("ada@example.com", opted_in=True)],
        )
    """

    @staticmethod
    def email(
        address: str, *, opted_in: bool | None = None, verified: bool | None = None
    ) -> ChannelFields:
        """Return an e-mail channel.

        Args:
            address: The e-mail address.
            opted_in: Whether the user agreed to receive e-mails.
            verified: Whether you verified that the address belongs to the user.
        """
        return {"channel": "email", "address": address, "opted_in": opted_in, "verified": verified}

    @staticmethod
    def sms(
        address: str, *, opted_in: bool | None = None, verified: bool | None = None
    ) -> ChannelFields:
        """Return a channel for text messages.

        Args:
            address: The phone number.
            opted_in: Whether the user agreed to receive text messages.
            verified: Whether you verified that the number belongs to the user.
        """
        return {"channel": "sms", "address": address, "opted_in": opted_in, "verified": verified}

    @staticmethod
    def push(
        address: str,
        *,
        opted_in: bool | None = None,
        verified: bool | None = None,
        kind: PushKind | None = None,
        platform: Platform | None = None,
        push_env: PushEnvironment | None = None,
        client_app_id: str | None = None,
        provider_project: str | None = None,
    ) -> ChannelFields:
        """Return a channel for push messages.

        Args:
            address: The device token.
            opted_in: Whether the user agreed to receive push messages.
            verified: Whether you verified that the device belongs to the user.
            kind: The push service that the token is for.
            platform: The platform of the device.
            push_env: Whether the token is for production or for the sandbox.
            client_app_id: Your id of the app, any string.
            provider_project: The project at the push service, any string.
        """
        return {
            "channel": "push",
            "address": address,
            "opted_in": opted_in,
            "verified": verified,
            "kind": kind,
            "platform": platform,
            "push_env": push_env,
            "client_app_id": client_app_id,
            "provider_project": provider_project,
        }
