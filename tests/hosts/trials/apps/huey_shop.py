"""A task of Huey; as a program it sends it."""

from __future__ import annotations

import os
from importlib import import_module

from huey import SqliteHuey

from tests.hosts.trials.apps.waiting import Whisperr

whisperr = Whisperr()
huey = SqliteHuey(filename=f"{os.environ['FOLDER']}/huey.db")


@huey.task()
def pay() -> None:
    whisperr.track("user_8842", "payment_failed")


# The page's lines stand here.
if __name__ == "__main__":
    import_module("shop").pay()  # by the name that the consumer knows
