"""An application of Tornado."""

from __future__ import annotations

import asyncio
import os

from tornado.web import Application, RequestHandler

from tests.hosts.trials.apps.waiting import Whisperr

whisperr = Whisperr()


class Pay(RequestHandler):
    def get(self) -> None:
        whisperr.track("user_8842", "payment_failed")
        self.write("thank you")


async def main() -> None:
    Application([("/", Pay)]).listen(int(os.environ["PORT"]), "127.0.0.1")
    await wait_for_sigterm()


wait_for_sigterm = asyncio.Event().wait  # forever
# The page's lines stand here.
asyncio.run(main())
