"""A job of arq; as a program it sends one."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings

from tests.hosts.trials.apps.waiting import Whisperr

whisperr = Whisperr()


async def pay(context: dict[Any, Any]) -> None:
    whisperr.track("user_8842", "payment_failed")


class WorkerSettings:
    functions = (pay,)
    redis_settings = RedisSettings.from_dsn(os.environ["REDIS_URL"])


async def send() -> None:
    pool = await create_pool(WorkerSettings.redis_settings)
    await pool.enqueue_job("pay")


if __name__ == "__main__":
    asyncio.run(send())
