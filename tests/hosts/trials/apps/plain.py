"""A program without a host."""

from __future__ import annotations

from threading import Event

from tests.hosts.trials.apps.waiting import Whisperr

whisperr = Whisperr()
# The page's lines stand here.
whisperr.track("user_8842", "payment_failed")
Event().wait()
