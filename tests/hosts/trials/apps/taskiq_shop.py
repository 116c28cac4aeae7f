"""A task of taskiq; as a program it sends one."""

from __future__ import annotations

import asyncio
import os

from taskiq_redis import ListQueueBroker

from tests.hosts.trials.apps.waiting import Whisperr

whisperr = Whisperr()
broker = ListQueueBroker(os.environ["REDIS_URL"])


@broker.task("pay")
async def pay() -> None:
    whisperr.track("user_8842", "payment_failed")


async def send() -> None:
    await broker.startup()
    await pay.kiq()
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(send())
