"""Helpers that make the channels of `identify(channels=[...])`; plain dictionaries work as well."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypedDict

    ChannelName = Literal["email", "sms", "push"]
    PushKind = Literal["fcm", "apns", "expo", "onesignal_sub"]
    Platform = Literal["ios", "android", "web", "macos", "windows", "linux"]
    PushEnvironment = Literal["production", "sandbox"]

    class ChannelFields(TypedDict, total=False):
        """One channel of a user; `channel` (or `type`) and `address` are required."""

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
    """Makes the dictionaries of channels. An argument that is left out is not sent."""

    @staticmethod
    def email(
        address: str, *, opted_in: bool | None = None, verified: bool | None = None
    ) -> ChannelFields:
        """Return an e-mail channel."""
        return {"channel": "email", "address": address, "opted_in": opted_in, "verified": verified}

    @staticmethod
    def sms(
        address: str, *, opted_in: bool | None = None, verified: bool | None = None
    ) -> ChannelFields:
        """Return a text message channel; `address` is a phone number."""
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
        """Return a push channel; `address` is the device token."""
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
