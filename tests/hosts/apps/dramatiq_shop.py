"""Actors of Dramatiq; run as a program, it puts messages into their queue."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["REDIS_URL"]))

from tests.hosts.apps import queue_jobs  # noqa: E402  # an actor needs its broker first

charge = dramatiq.actor(queue_jobs.charge)

if __name__ == "__main__":
    for n in range(4):
        charge.send(n)
