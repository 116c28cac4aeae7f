"""A task of procrastinate; as a program it makes the tables and sends one."""

from __future__ import annotations

import asyncio
import os

from procrastinate import App, PsycopgConnector

from tests.hosts.trials.apps.waiting import Whisperr

whisperr = Whisperr()
app = App(connector=PsycopgConnector(conninfo=os.environ["POSTGRES"]))


@app.task(name="pay")
def pay() -> None:
    whisperr.track("user_8842", "payment_failed")


async def send() -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await pay.defer_async()


if __name__ == "__main__":
    asyncio.run(send())
