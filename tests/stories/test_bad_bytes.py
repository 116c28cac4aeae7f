"""Values of any shape: `track` never raises, and the strict server accepts what it accepts."""

from __future__ import annotations

import uuid
from collections import deque
from dataclasses import dataclass
from datetime import timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whisperr import Whisperr
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator


class Broken:
    """Raises in every method."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    def __bool__(self) -> bool:
        raise KeyError("no")

    def __iter__(self) -> Iterator[object]:
        raise RecursionError("no")

    def __len__(self) -> int:
        raise OverflowError("no")


class Changing(dict[str, object]):
    """Claims to have members, and raises when it is read."""

    def __len__(self) -> int:
        return 3

    def items(self) -> Any:
        raise RuntimeError("dictionary changed size during iteration")


@dataclass
class Box:
    content: object


def deep(value: object, levels: int) -> object:
    for _ in range(levels):
        value = [value]
    return value


def cyclic(value: object) -> object:
    circle: list[object] = [value]
    circle.append({"again": circle})
    return circle


ANY_TEXT = st.text(st.characters(categories=["Cs", "Cc", "Lu", "So", "Zs"]), max_size=8)
LARGE_TEXT = st.builds(lambda part, times: part * times, ANY_TEXT, st.sampled_from([1_000, 40_000]))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**400)
    | st.floats()
    | ANY_TEXT
    | LARGE_TEXT
    | st.binary(max_size=20)
    | st.datetimes(timezones=st.none() | st.just(timezone.utc))
    | st.dates()
    | st.timedeltas()
    | st.decimals()
    | st.uuids()
    | st.complex_numbers()
    | st.builds(Broken)
    | st.builds(Changing)
    | st.sampled_from([object(), Broken, len, Ellipsis, Decimal("sNaN"), range(3)])
)
KEYS = ANY_TEXT | st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.binary()
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.builds(tuple, st.lists(inner, max_size=3))
        | st.builds(deque, st.lists(inner, max_size=3))
        | st.builds(Box, inner)
        | st.builds(iter, st.lists(inner, max_size=3))
        | st.builds(deep, inner, st.sampled_from([1, 60, 70, 5_000]))
        | st.builds(cyclic, inner)
    ),
    max_leaves=12,
)
USERS = ANY_TEXT | st.integers() | st.uuids() | TREES


class Pair:
    """A server and a client for all examples."""

    def __init__(self, server: LocalServer) -> None:
        self._server = server
        self._client = Whisperr("wrk_test", base_url=server.url, flush_at=1, max_retries=0)

    def track(self, *call: Any) -> None:
        """Track, and assert that the server accepts what the client accepted."""
        message_id = self._client.track(*call)
        assert self._client.flush(60)
        stats = self._client.stats()
        assert stats.dropped == {}
        assert stats.accepted == stats.delivered
        if message_id is None:
            return
        (arrival,) = self._server.arrivals(status="accepted")
        assert arrival.message_id == message_id
        assert not self._server.arrivals(status="refused")
        self._server.reset()

    def identify(self, user: object, traits: Any) -> None:
        """Identify, likewise."""
        before = self._client.stats().delivered
        self._client.identify(user, traits=traits)
        assert self._client.flush(60)
        assert not self._server.arrivals(status="refused")
        assert self._client.stats().delivered - before == len(self._server.arrivals())
        self._server.reset()

    def close(self) -> None:
        assert self._client.shutdown(60)
        stats = self._client.stats()
        assert stats.accepted > 100
        assert stats.not_accepted["invalid"] > 100


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with LocalServer(max_body_bytes=64 * 1024 * 1024) as server:
        made = Pair(server)
        yield made
        made.close()


each = settings(
    deadline=None,
    max_examples=150,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@each
@given(properties=TREES, context=TREES)
def test_properties_and_context_of_any_shape(pair: Pair, properties: Any, context: Any) -> None:
    pair.track("u", "trial_started", {"value": properties}, {"value": context})
    pair.track("u", "trial_started", properties, context)


@each
@given(user=USERS, name=USERS, message_id=USERS)
def test_ids_and_names_of_any_shape(pair: Pair, user: Any, name: Any, message_id: Any) -> None:
    pair.track(user, "trial_started")
    pair.track("u", name)
    pair._client.track("u", "trial_started", message_id=message_id)
    pair.identify(user, {"plan": "pro"})


@each
@given(traits=TREES)
def test_traits_of_any_shape(pair: Pair, traits: Any) -> None:
    pair.identify(str(uuid.uuid4()), {"value": traits})
    pair.identify("u", traits)
