"""What a signal handler raises, such as a time limit, reaches the caller; nothing is half done."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, connections, transaction
from django.test import override_settings
from django.utils.functional import SimpleLazyObject

from tests.django.outboxes import SECOND, get_rows, migrate_second
from tests.facilities import needs_own_signals
from tests.interrupting import interrupt_everywhere
from whisperr.django import get_client, track_on_commit
from whisperr.django.models import OutboxEvent
from whisperr.django.outbox import buffer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.django.site import Site

pytestmark = needs_own_signals


class TimeLimitError(Exception):
    """What the handler of these tests raises: an Exception, as most time limits are."""


@pytest.fixture(autouse=True)
def limit() -> Iterator[Callable[..., Any]]:
    """A function that is interrupted by a signal, whose handler raises."""

    def handler(*_: object) -> None:
        raise TimeLimitError

    def reach(*_: object) -> Any:
        signal.raise_signal(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    yield reach
    signal.signal(signal.SIGUSR1, before)


class TestUser:
    @pytest.mark.parametrize("call", ["track", "identify", "track_on_commit", "user_id"])
    @pytest.mark.parametrize("by", ["resolver", "lazy user"])
    def test_a_limit_while_it_is_read_reaches_the_view(
        self, site: Site, limit: Callable[..., Any], call: str, by: str
    ) -> None:
        def view(request: Any) -> str:
            if by == "lazy user":
                request.user = SimpleLazyObject(limit)
            given = [] if call in {"identify", "user_id"} else ["event"]
            with pytest.raises(TimeLimitError):
                getattr(request.whisperr, call)(*given)
            return "interrupted"

        resolver = limit if by == "resolver" else None
        with override_settings(WHISPERR_RESOLVE_USER=resolver):
            assert site.get(view).content == b"interrupted"
            stats = get_client().stats()
        assert (stats.accepted, stats.not_accepted) == (0, {})
        assert site.errors == []

    def test_so_does_one_in_an_async_view(self, site: Site) -> None:
        limits = pytest.importorskip("billiard.exceptions")

        async def resolve(request: Any) -> Any:
            raise limits.SoftTimeLimitExceeded

        async def view(request: Any) -> str:
            with pytest.raises(limits.SoftTimeLimitExceeded):
                await request.whisperr.atrack("event")
            return "interrupted"

        with override_settings(WHISPERR_RESOLVE_USER=resolve):
            assert site.aget(view).content == b"interrupted"
        assert site.errors == []

    def test_so_does_one_in_a_sync_resolver_of_an_async_view(self, site: Site) -> None:
        limits = pytest.importorskip("billiard.exceptions")

        def resolve(request: Any) -> Any:
            raise limits.SoftTimeLimitExceeded

        async def view(request: Any) -> None:
            request.whisperr.track("event")

        with (
            override_settings(WHISPERR_RESOLVE_USER=resolve),
            pytest.raises(limits.SoftTimeLimitExceeded),
        ):
            site.aget(view)


@contextmanager
def interrupted(alias: str, limit: Callable[..., Any], *, after: bool) -> Iterator[None]:
    """Reach a limit at the INSERT of an event: before it, or when it is done."""

    def wrapper(run: Callable[..., Any], sql: str, *given: Any) -> Any:
        if sql.startswith("INSERT") and "outboxevent" in sql:
            if after:
                run(sql, *given)
            limit()
        return run(sql, *given)

    with connections[alias].execute_wrapper(wrapper):
        yield


@pytest.mark.usefixtures("outbox")
class TestInsert:
    @pytest.mark.parametrize("after", [False, True])
    def test_a_limit_at_an_insert_reaches_the_caller_and_leaves_the_transaction(
        self, site: Site, limit: Callable[..., Any], after: bool
    ) -> None:
        with transaction.atomic():
            get_client().track("u", "before")
            with interrupted("default", limit, after=after), pytest.raises(TimeLimitError):
                get_client().track("u", "interrupted")
            get_client().track("u", "after")
        assert [b"before" in row or b"after" in row for row in get_rows()] == [True, True]
        assert get_client().stats().accepted == 2
        assert site.errors == []

    def test_a_limit_after_a_commit_reaches_the_caller(
        self, second: str, limit: Callable[..., Any]
    ) -> None:
        migrate_second()

        @transaction.atomic
        def pay() -> None:
            track_on_commit("u", "paid")

        with (
            override_settings(WHISPERR_OUTBOX_DATABASE=second),
            interrupted(second, limit, after=False),
            pytest.raises(TimeLimitError),
        ):
            pay()

    @pytest.mark.parametrize("in_transaction", [False, True])
    def test_after_an_interruption_anywhere_the_next_call_works(self, in_transaction: bool) -> None:
        def story(interrupt: Callable[[Callable[[], object]], Any]) -> None:
            OutboxEvent.objects.all().delete()
            accepted = get_client().stats().accepted
            if in_transaction:
                with transaction.atomic():
                    interrupt(lambda: get_client().track("u", "interrupted"))
                    alive = not transaction.get_rollback()
                    if alive:
                        get_client().track("u", "next")
            else:
                interrupt(lambda: get_client().track("u", "interrupted"))
                alive = get_client().track("u", "next") is not None
            assert alive
            assert not connection.connection.in_transaction
            rows = get_rows()
            assert b"next" in rows[-1]
            assert get_client().stats().accepted - accepted <= len(rows) <= 2

        get_client().track("u", "imports")
        assert interrupt_everywhere(story) > 20

    def test_an_interruption_leaves_no_database_named(self) -> None:
        def story(interrupt: Callable[[Callable[[], object]], Any]) -> None:
            interrupt(lambda: buffer.call_with_database(SECOND, buffer.get_alias))
            assert buffer.get_alias() == "default"

        assert interrupt_everywhere(story) > 3
