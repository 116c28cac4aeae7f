"""A Flask application that tracks for the user of the request.

    whisperr dev                                    # in one terminal
    export WHISPERR_API_KEY=wrk_test WHISPERR_BASE_URL=http://127.0.0.1:8722
    flask --app examples/flask_app.py run           # in another one
    curl -X POST -H 'X-User: user_8842' http://127.0.0.1:5000/subscription/cancel

Under gunicorn: `gunicorn --chdir examples flask_app:app`.
"""

from __future__ import annotations

from flask import Flask, request

from whisperr.flask import Whisperr, current


def user() -> str | None:
    """Return the user's id; a real application reads its session here."""
    return request.headers.get("X-User")


app = Flask(__name__)
Whisperr(app, resolve_user=user)


@app.post("/subscription/cancel")
def cancel() -> dict[str, str | None]:
    """Cancel a subscription."""
    return {"message_id": current.track("subscription_cancelled", {"plan": "pro"})}
