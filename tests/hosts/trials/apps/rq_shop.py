"""A job of RQ; as a program it sends one."""

from __future__ import annotations

import os

from tests.hosts.trials.apps.waiting import Whisperr

client = Whisperr()


def pay() -> None:
    client.track("user_8842", "payment_failed")


# The page's lines stand here.
if __name__ == "__main__":
    from redis import Redis
    from rq import Queue

    Queue(connection=Redis.from_url(os.environ["REDIS_URL"])).enqueue("shop.pay")
