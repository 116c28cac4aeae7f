"""Time limits are checked before anything happens, and the error names the value."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from whisperr import Whisperr
from whisperr._process.timeout import UNBOUNDED, parse_timeout
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Callable

WRONG: list[tuple[Any, type[Exception], str]] = [
    ("5", TypeError, "str: '5'"),
    (True, TypeError, "bool: True"),
    ([1], TypeError, r"list: \[1\]"),
    (b"x" * 1000, TypeError, r"x\.\.\.$"),
    (-1, ValueError, "got -1"),
    (-0.001, ValueError, "got -0.001"),
    (float("nan"), ValueError, "got nan"),
    (Decimal("nan"), ValueError, "got Decimal"),
]
CALLS: dict[str, Callable[[Whisperr, Any], object]] = {
    "flush": lambda client, timeout: client.flush(timeout),
    "shutdown": lambda client, timeout: client.shutdown(timeout),
    "aflush": lambda client, timeout: asyncio.run(client.aflush(timeout)),
    "ashutdown": lambda client, timeout: asyncio.run(client.ashutdown(timeout)),
}


@pytest.mark.parametrize(("timeout", "error", "text"), WRONG)
@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_time_limit_is_an_error_that_names_it_and_nothing_happens(
    call: str, timeout: Any, error: type[Exception], text: str
) -> None:
    transport = MemoryTransport()
    for client in (Whisperr("wrk_test", transport=transport), Whisperr(disabled=True)):
        with pytest.raises(error, match=text):
            CALLS[call](client, timeout)
        assert client.ready or not client.enabled
    assert transport.sent == []


@pytest.mark.parametrize("timeout", [None, 5, 0.5, float("inf"), 1e300, Decimal(5)])
@pytest.mark.parametrize("call", CALLS)
def test_any_other_number_is_a_bound_and_none_is_no_bound(call: str, timeout: Any) -> None:
    client = Whisperr("wrk_test", transport=MemoryTransport())
    client.track("u", "trial_started")
    assert CALLS[call](client, timeout) is True
    assert client.stats().delivered == 1


def test_a_shutdown_without_a_bound_ends_with_the_retries() -> None:
    client = Whisperr("wrk_test", transport=MemoryTransport(OSError("down")), max_retries=0)
    client.track("u", "trial_started")
    assert client.shutdown(None) is False
    assert client.stats().dropped == {"shutdown": 1}


def test_nothing_is_converted_but_none() -> None:
    assert parse_timeout(None) == UNBOUNDED
    assert parse_timeout(0) == 0.0
    with pytest.raises(ValueError, match="margin must be"):
        parse_timeout(-1, "margin")
