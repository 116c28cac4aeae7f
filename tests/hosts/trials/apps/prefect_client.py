"""A client for flows of Prefect, which `serve` pickles with all that their functions name."""

from __future__ import annotations

from tests.hosts.trials.apps.waiting import Whisperr

whisperr = Whisperr()
