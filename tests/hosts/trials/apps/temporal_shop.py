"""A worker of Temporal; as a program without arguments it starts a workflow.

EXECUTOR says what runs the activity: "coroutines" or "threads".
"""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from tests.hosts.trials.apps.temporal_activities import pay_in_loop, pay_in_pool

wait_for_sigterm = asyncio.Event().wait  # forever
# The page's lines stand here.


@workflow.defn
class Shop:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity("pay", start_to_close_timeout=timedelta(minutes=1))


async def main() -> None:
    kind, queue = os.environ["EXECUTOR"], os.environ["FOLDER"]
    client = await Client.connect(os.environ["TEMPORAL_ADDRESS"])
    if not sys.argv[1:]:
        await client.start_workflow(Shop.run, id=queue, task_queue=queue)
        os._exit(0)  # threads of its client abort some programs that end soon after a call
    with ThreadPoolExecutor(2) as pool:
        async with Worker(
            client,
            task_queue=queue,
            workflows=[Shop],
            activities=[pay_in_pool if kind == "threads" else pay_in_loop],
            activity_executor=pool,
        ):
            await wait_for_sigterm()


if __name__ == "__main__":
    asyncio.run(main())
