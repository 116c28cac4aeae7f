"""An application of aiohttp, with its own server and under gunicorn."""

from __future__ import annotations

import os

from aiohttp import web

from tests.hosts.trials.apps.waiting import Whisperr

whisperr = Whisperr()


async def pay(request: web.Request) -> web.Response:
    whisperr.track("user_8842", "payment_failed")
    return web.Response(text="thank you")


application = web.Application()
application.router.add_get("/", pay)
if __name__ == "__main__":
    web.run_app(application, host="127.0.0.1", port=int(os.environ["PORT"]))
