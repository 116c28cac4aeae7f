"""A program that runs an application of aiohttp in an event loop of its own."""

from __future__ import annotations

import asyncio
import os

from aiohttp import web

from tests.hosts.trials.apps.aiohttp_shop import application


async def main() -> None:
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(os.environ["PORT"])).start()
    await wait_for_sigterm()
    await runner.cleanup()


wait_for_sigterm = asyncio.Event().wait  # forever
# The page's lines stand here.
asyncio.run(main())
