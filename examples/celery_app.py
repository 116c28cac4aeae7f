"""A Celery application whose tasks track for their user. Its broker is a folder.

whisperr dev                                    # in one terminal
export WHISPERR_API_KEY=wrk_test WHISPERR_BASE_URL=http://127.0.0.1:8722
celery --workdir examples -A celery_app worker  # in another one
celery --workdir examples -A celery_app call shop.export --args '["user_8842"]'
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import gettempdir

from celery import Celery

from whisperr.celery import connect, current, from_argument

folder = Path(os.environ.get("BROKER_FOLDER") or Path(gettempdir()) / "whisperr-example")
for name in ("messages", "control"):
    (folder / name).mkdir(parents=True, exist_ok=True)

app = Celery("shop", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": str(folder / "messages"),
    "data_folder_out": str(folder / "messages"),
    "control_folder": str(folder / "control"),
}
connect(resolve_user=from_argument("user_id"))


@app.task(name="shop.export")  # type: ignore[untyped-decorator]  # Celery has no types
def export(user_id: str) -> str | None:
    """Fail to export the data of a user."""
    return current.track("export_failed", {"of": user_id})
