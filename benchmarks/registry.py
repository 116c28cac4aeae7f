"""Lists every case by its name, in the order of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.cases import (
    buffers,
    burst,
    django,
    event_loop,
    exit,  # noqa: A004  # the end of a process is its subject
    first_request,
    growth,
    instructions,
    memory,
    slow_network,
    slowdown,
    start,
    steady,
    threads,
    throughput,
    waiting,
)

if TYPE_CHECKING:
    from benchmarks.case import Case

CASES: dict[str, Case] = {
    "start": start.CASE,
    "first_request": first_request.CASE,
    "burst": burst.CASE,
    "steady": steady.CASE,
    "throughput": throughput.CASE,
    "memory": memory.CASE,
    "slowdown": slowdown.CASE,
    "exit": exit.CASE,
    "slow_network": slow_network.CASE,
    "django": django.CASE,
    "buffers": buffers.CASE,
    "threads": threads.CASE,
    "event_loop": event_loop.CASE,
    "instructions": instructions.CASE,
    **growth.CASES,
    **waiting.CASES,
}
