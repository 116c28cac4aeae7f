"""An application of Flask."""

from __future__ import annotations

from flask import Flask

from tests.hosts.trials.apps.waiting import Whisperr

whisperr = Whisperr()
app = Flask(__name__)


@app.get("/")
def pay() -> str:
    whisperr.track("user_8842", "payment_failed")
    return "thank you"


# The page's lines stand here.
