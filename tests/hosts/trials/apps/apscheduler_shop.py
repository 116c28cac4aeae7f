"""Jobs of APScheduler. SCHEDULER says which one runs them."""

from __future__ import annotations

import asyncio
import os
from threading import Event

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.blocking import BlockingScheduler

from tests.hosts.trials.apps.waiting import Whisperr

KIND = os.environ["SCHEDULER"]
SCHEDULERS = {
    "asyncio": AsyncIOScheduler,
    "background": BackgroundScheduler,
    "blocking": BlockingScheduler,
}
whisperr = Whisperr()
scheduler = SCHEDULERS[KIND]()


@scheduler.scheduled_job("date")
def pay() -> None:
    whisperr.track("user_8842", "payment_failed")


async def main() -> None:
    scheduler.start()
    await wait_for_sigterm()


wait_for_sigterm = asyncio.Event().wait  # forever
# The page's lines stand here.
if KIND == "asyncio":
    asyncio.run(main())
else:
    scheduler.start()
    Event().wait(None if KIND == "background" else 0)
