"""An application of Quart."""

from __future__ import annotations

from quart import Quart

from tests.hosts.trials.apps.waiting import Whisperr

whisperr = Whisperr()
app = Quart(__name__)


@app.get("/")
async def pay() -> str:
    whisperr.track("user_8842", "payment_failed")
    return "thank you"
