"""Put jobs into a queue of RQ."""

from __future__ import annotations

import os

from redis import Redis
from rq import Queue

from tests.hosts.apps.queue_jobs import charge

queue = Queue(connection=Redis.from_url(os.environ["REDIS_URL"]))
for n in range(4):
    queue.enqueue(charge, n)
