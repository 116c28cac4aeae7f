"""docs/start/async.md holds: its program delivers, and its figures were measured."""

from __future__ import annotations

import asyncio
import gc
import re
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from tests.docs.page import get_names, get_rows, get_text, paste
from tests.docs.pasted import run
from whisperr import Whisperr
from whisperr.dev import LocalServer
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from pathlib import Path

    from whisperr import WhisperrError

PAGE = "docs/start/async.md"


def test_the_program_of_the_page_delivers(tmp_path: Path) -> None:
    with LocalServer() as server:
        environment = {"WHISPERR_BASE_URL": server.url, "WHISPERR_API_KEY": "wrk_test"}
        done = run(tmp_path, paste(PAGE), **environment)
        (arrival,) = server.arrivals()
    assert (arrival.user, arrival.type) == ("user_8842", "subscription_cancelled")
    assert done.stderr == ""


def test_the_figures_are_within_what_was_measured() -> None:
    text = " ".join(get_text(PAGE).split())
    share, latest = re.findall(r"about (\d+) % of the time.*? at most (\d+) ms late", text)[0]
    rows = get_rows("docs/about/measurements.md", "An event loop")
    measured = [row for row in rows if not row[0].endswith("before")]
    assert len(measured) == 8  # four buffers, twice: the second time Redis hangs
    for name, delay, calls, *_ in measured:
        assert max(map(float, re.findall(r"\d+\.\d+", delay))) <= int(latest), name
        if name == "memory":
            assert round(float(calls.split()[0])) == int(share)


def test_a_cancelled_task_loses_no_event() -> None:
    transport = MemoryTransport()

    async def track(client: Whisperr) -> None:
        client.track("ada", "seen")
        await asyncio.sleep(3_600)

    async def main() -> None:
        async with Whisperr("wrk_test", transport=transport) as client:
            task = asyncio.create_task(track(client))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert [event["event_type"] for event in transport.sent[0].events] == ["seen"]


def test_an_async_before_send_is_reported_and_nothing_is_sent() -> None:
    transport, errors = MemoryTransport(), list[Any]()

    async def clean(event: dict[str, Any]) -> dict[str, Any]:
        return event

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of Python: it was never awaited
        with Whisperr(
            "wrk_test",
            transport=transport,
            before_send=clean,  # type: ignore[arg-type]  # what is tested
            on_error=errors.append,
        ) as client:
            client.track("ada", "seen")
        gc.collect()
    assert transport.sent == []
    assert [error.reason for error in errors] == ["invalid"]
    assert "before_send: must return None or a dict" in errors[0].message


def test_on_error_may_reach_a_loop() -> None:
    async def main() -> str:
        loop = asyncio.get_running_loop()
        seen: asyncio.Queue[str] = asyncio.Queue()

        def report(error: WhisperrError) -> None:
            loop.call_soon_threadsafe(seen.put_nowait, str(error.reason))

        async with Whisperr("wrk_test", transport=MemoryTransport(), on_error=report) as client:
            client.track("ada", "Not Snake Case")
            return await asyncio.wait_for(seen.get(), 60)

    assert asyncio.run(main()) == "invalid"


@pytest.mark.parametrize("heading", ["What you can await"])
def test_every_call_of_the_table_is_public(heading: str) -> None:
    public = get_text("tests/public_api.txt")
    named = [name for row in get_rows(PAGE, heading) for name in get_names(row[0])]
    calls = {name.rpartition("(")[0].split(".")[-1] for name in named if name.startswith("await ")}
    assert calls == {"aflush", "ashutdown", "atrack"}
    for call in calls:
        assert re.search(rf"\.{call}\(.*async def", public), call
