"""An actor of Dramatiq; as a program it sends it a message."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from tests.hosts.trials.apps.waiting import Whisperr

whisperr = Whisperr()
dramatiq.set_broker(RedisBroker(url=os.environ["REDIS_URL"]))


@dramatiq.actor
def pay() -> None:
    whisperr.track("user_8842", "payment_failed")


if __name__ == "__main__":
    pay.send()
