"""A pytest plugin that gives the tests of 0.2.1 what they reach for below its public interface.

Those tests replace the transport of a client by an object with `send_batch` and `send_identify`,
patch `urllib.request.urlopen`, import `whisperr.transport` and read the queue. The plugin offers
each of these over the public interface of this package; whatever is tested is this package.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from contextlib import nullcontext
from types import ModuleType
from typing import TYPE_CHECKING, Any

import whisperr
from whisperr._contract import get_headers

if TYPE_CHECKING:
    from collections.abc import Callable

_Client = whisperr.Whisperr
# What the transport of 0.2.1 returned, as the status that means it.
_STATUSES = {"ok": 202, "auth": 401, "retry": 503, "drop": 400}
# What 0.2.1 called the end of a batch, by the type of the report.
_RESULTS = {"auth": "auth", "dropped": "drop", "retry_exhausted": "retry"}


def _to_operation(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event as 0.2.1 queued it: the message id beside the context."""
    context = dict(event["context"])
    message_id = context.pop("$message_id")
    return {"kind": "track", **event, "context": context, "message_id": message_id}


def _to_identify(body: dict[str, Any]) -> dict[str, Any]:
    """Return an identify as 0.2.1 queued it: a channel has the key `type`."""
    channels = [
        {"type" if key == "channel" else key: value for key, value in channel.items()}
        for channel in body.get("channels", ())
    ]
    return {"kind": "identify", **body, "channels": channels or None}


class _FakeTransport:
    """Hands requests to an object with the two methods of 0.2.1's transport."""

    def __init__(self, fake: Any) -> None:  # noqa: ANN401  # an object of a test
        self._fake = fake

    def send(self, request: whisperr.Request, timeout: float) -> whisperr.Answer:
        del timeout
        body = json.loads(request.body)
        if request.path == "/v1/identify":
            result = self._fake.send_identify(_to_identify(body))
        else:
            result = self._fake.send_batch([_to_operation(event) for event in body["events"]])
        return whisperr.Answer(_STATUSES[result])

    def close(self) -> None:
        """Have nothing to close."""


class _PostingTransport:
    """Hands requests to a function of path and body."""

    def __init__(self, post: Callable[[str, Any], Any]) -> None:
        self._post = post

    def send(self, request: whisperr.Request, timeout: float) -> whisperr.Answer:
        del timeout
        answer = self._post(request.path, json.loads(request.body))
        return whisperr.Answer(_STATUSES.get(answer, answer))

    def close(self) -> None:
        """Have nothing to close."""


def _post_with_urllib(base_url: str, api_key: str) -> Callable[[str, Any], int]:
    """Return a function that sends with `urlopen`, which the tests replace; it returns a status."""

    def post(path: str, body: object) -> int:
        request = urllib.request.Request(  # noqa: S310  # `urlopen` is replaced, nothing is sent
            base_url.rstrip("/") + path,
            data=json.dumps(body).encode(),
            method="POST",
            headers=get_headers(api_key, whisperr.__version__),
        )
        try:
            with urllib.request.urlopen(request, timeout=1):  # noqa: S310  # likewise
                return 202
        except urllib.error.HTTPError as error:
            return error.code

    return post


class Whisperr(_Client):
    """The client, with the transport of 0.2.1 and its view of the queue."""

    def __init__(self, api_key: str, *, transport: object = None, **options: Any) -> None:  # noqa: ANN401  # those of the client
        if transport is None:
            url = options.get("base_url", "https://api.whisperr.net")
            adapted: Any = _PostingTransport(_post_with_urllib(url, api_key))
        else:
            adapted = _FakeTransport(transport)
        super().__init__(api_key, transport=adapted, **options)
        self._buf_lock = nullcontext()

    @property
    def _buf(self) -> range:
        return range(self.stats().held)


class Transport:
    """The two methods of 0.2.1's transport: a client that sends what it is given at once."""

    def __init__(self, base_url: str, api_key: str, timeout: float, warn: object) -> None:
        del timeout, warn
        self._key = api_key
        self._post: Callable[[str, Any], Any] = _post_with_urllib(base_url, api_key)

    def send_batch(self, events: list[dict[str, Any]]) -> str:
        """Send events, and return the word of 0.2.1 for the answer."""

        def track(client: whisperr.Whisperr) -> None:
            for event in events:
                client.track(
                    event["external_user_id"],
                    event["event_type"],
                    event.get("properties"),
                    event.get("context"),
                    message_id=event["message_id"],
                )

        return self._send(track)

    def send_identify(self, operation: dict[str, Any]) -> str:
        """Send an identify, and return the word of 0.2.1 for the answer."""
        given = {key: value for key, value in operation.items() if key != "kind"}
        return self._send(lambda client: client.identify(given.pop("external_user_id"), **given))

    def _send(self, call: Callable[[whisperr.Whisperr], None]) -> str:
        errors: list[whisperr.WhisperrError] = []
        client = _Client(
            self._key,
            transport=_PostingTransport(self._post),
            max_retries=0,
            on_error=errors.append,
        )
        call(client)
        client.flush()
        reported = [error.type for error in errors]
        client.shutdown(0)
        return _RESULTS[reported[0]] if reported else "ok"


def pytest_configure() -> None:
    """Put the adapted names where the tests of 0.2.1 import them from."""
    whisperr.Whisperr = Whisperr  # type: ignore[assignment,misc]  # for the tests that import it from here
    module = ModuleType("whisperr.transport")
    module.Transport = Transport  # type: ignore[attr-defined]  # a module made here
    sys.modules[module.__name__] = module
