"""The measured process of "start" and "first_request": what the first event costs.

It runs as `python -c` and imports only what every interpreter has loaded already, so that each
package pays for the modules that it needs.

    python -c "from benchmarks.start_child import main; main()" MODE ADAPTER URL GIVEN
"""

from __future__ import annotations

import sys
import time

from benchmarks.event import make_properties

_PAGE_BYTES = 4096
_BUSY_SECONDS = 1.0  # three times what the slowest first request takes
_BUSY = ("busy", "busy, sockets and TLS loaded")


def main() -> None:
    """Import, start and track once; MODE "bare" does none of this, "import" only the first."""
    mode, name, url = sys.argv[1:4]
    adapter = getattr(__import__(f"benchmarks.adapters.{name}").adapters, name)
    properties = make_properties(0)
    if mode in _BUSY:
        _track_and_compute(adapter, url, loaded=mode != _BUSY[0])
        return
    modules, memory = len(sys.modules), _resident_bytes()
    if mode == "bare":
        return
    began = time.perf_counter_ns()
    adapter.load()
    loaded = time.perf_counter_ns()
    if mode == "import":
        return
    modules, memory = len(sys.modules) - modules, _resident_bytes() - memory
    ready = time.perf_counter_ns()
    client = adapter.start(url, 10_000)
    client.track(properties)
    tracked = time.perf_counter_ns()
    if client.end is not None:
        client.end()
    import_ms, first_ms = (loaded - began) / 1e6, (loaded - began + tracked - ready) / 1e6
    print(
        f'{{"import": {import_ms}, "modules": {modules}, "memory": {memory / 1e6}, '
        f'"first": {first_ms}, "expected": 1}}',
        flush=True,
    )


def _track_and_compute(adapter: object, url: str, *, loaded: bool) -> None:
    """Track one event that is due at once, and compute without a pause while it is delivered."""
    if loaded:
        __import__("socket"), __import__("ssl")
    adapter.load()  # type: ignore[attr-defined]  # an adapter is a module
    began = time.perf_counter_ns()
    client = adapter.start(url, 10_000, flush_at=1)  # type: ignore[attr-defined]  # likewise
    made_ms = (time.perf_counter_ns() - began) / 1e6
    tracked_ns = time.monotonic_ns()
    client.track(make_properties(0))
    value, end = 1, time.perf_counter() + _BUSY_SECONDS
    while time.perf_counter() < end:
        for number in range(10_000):
            value = (value * 31 + number) & 0xFFFF
    print(f'{{"made": {made_ms}, "tracked_ns": {tracked_ns}, "expected": 1}}', flush=True)


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123  # pathlib would be loaded for it
        return int(file.read().split()[1]) * _PAGE_BYTES
