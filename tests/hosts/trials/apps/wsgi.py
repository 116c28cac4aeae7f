"""A WSGI application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.hosts.trials.apps.waiting import Whisperr

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

whisperr = Whisperr()


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    whisperr.track("user_8842", "payment_failed")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"thank you"]


# The page's lines stand here.
