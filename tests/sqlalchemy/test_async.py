"""The outbox in sessions and connections of asyncio."""

from __future__ import annotations

import asyncio
import gc
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("sqlalchemy")

pytest.importorskip("aiosqlite")
pytest.importorskip("greenlet")

from sqlalchemy import text
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)

from tests.sqlalchemy.test_outbox import make_signal
from whisperr import scope
from whisperr.sqlalchemy import Outbox
from whisperr.testing import capture

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.sqlalchemy.databases import SQLDatabase
    from whisperr import Whisperr, WhisperrError


def run(database: SQLDatabase, work: Callable[[AsyncEngine], Awaitable[None]]) -> None:
    """Run `work` with an engine of its own loop."""

    async def main() -> None:
        engine = create_async_engine(database.async_url)
        try:
            await asyncio.wait_for(work(engine), 60)
        finally:
            await engine.dispose()

    asyncio.run(main())


def track(outbox: Outbox, session: Any, n: int) -> str | None:
    return outbox.track(session, "user_1", "plan_upgraded", {"n": n})


async def atrack(outbox: Outbox, session: Any, n: int) -> str | None:
    return await outbox.atrack(session, "user_1", "plan_upgraded", {"n": n})


class TestAwaited:
    def test_the_row_is_written_when_the_call_returns(
        self, outbox: Outbox, database: SQLDatabase
    ) -> None:
        async def work(engine: AsyncEngine) -> None:
            async with AsyncSession(engine) as session:
                assert await atrack(outbox, session, 1)
                count = text("SELECT count(*) FROM whisperr_outboxevent")
                assert await session.scalar(count) == 1
                await session.rollback()
                assert await atrack(outbox, session, 2)
                await outbox.aidentify(session, "user_1", traits={"plan": "pro"})
                await session.commit()

        run(database, work)
        assert database.get_numbers() == [2, None]

    def test_a_signal_of_a_webhook_is_written_when_the_call_returns(
        self, outbox: Outbox, database: SQLDatabase
    ) -> None:
        signal = make_signal()

        async def work(engine: AsyncEngine) -> None:
            async with AsyncSession(engine) as session:
                assert await outbox.atrack_signal(session, signal) == signal.message_id
                await session.rollback()
                assert await outbox.atrack_signal(session, signal) == signal.message_id
                await session.commit()
                assert outbox.track_signal(session, signal) == signal.message_id  # not awaited
                await session.commit()
                with pytest.raises(TypeError, match="must get an AsyncSession"):
                    await outbox.atrack_signal(session.sync_session, signal)  # type: ignore[arg-type]

        run(database, work)
        assert len(database.get_rows()) == 2

    def test_an_event_has_the_scope_of_its_call(
        self, outbox: Outbox, database: SQLDatabase
    ) -> None:
        async def work(engine: AsyncEngine) -> None:
            async with AsyncSession(engine) as session, session.begin():
                with scope(tenant="acme"):
                    await atrack(outbox, session, 1)
                    track(outbox, session, 2)

        run(database, work)
        assert [json.loads(row)["properties"] for row in database.get_rows()] == [
            {"n": 1, "tenant": "acme"},
            {"n": 2, "tenant": "acme"},
        ]

    def test_savepoints_are_followed(self, outbox: Outbox, database: SQLDatabase) -> None:
        async def work(engine: AsyncEngine) -> None:
            async with AsyncSession(engine) as session, session.begin():
                await atrack(outbox, session, 1)
                async with session.begin_nested() as inner:
                    await atrack(outbox, session, 2)
                    await inner.rollback()
                async with session.begin_nested():
                    await atrack(outbox, session, 3)

        run(database, work)
        assert database.get_numbers() == [1, 3]

    def test_a_connection_takes_rows_too(self, outbox: Outbox, database: SQLDatabase) -> None:
        async def work(engine: AsyncEngine) -> None:
            async with engine.begin() as connection:
                assert await atrack(outbox, connection, 1)
            async with engine.connect() as connection:
                await atrack(outbox, connection, 2)
                await connection.rollback()

        run(database, work)
        assert database.get_numbers() == [1]

    def test_a_row_that_cannot_be_written_leaves_the_transaction_as_it_was(
        self, outbox: Outbox, database: SQLDatabase
    ) -> None:
        database.execute("CREATE TABLE other (n INTEGER)")
        database.execute("ALTER TABLE whisperr_outboxevent RENAME TO elsewhere")

        async def work(engine: AsyncEngine) -> None:
            async with AsyncSession(engine) as session, session.begin():
                await session.execute(text("INSERT INTO other VALUES (1)"))
                assert await atrack(outbox, session, 1) is None
                await session.execute(text("INSERT INTO other VALUES (2)"))

        run(database, work)
        assert database.execute("SELECT n FROM other ORDER BY n") == [(1,), (2,)]
        assert outbox.client.stats().not_accepted == {"not_stored": 1}

    def test_a_session_that_was_made_with_the_info_of_another_one_writes_its_own(
        self, outbox: Outbox, database: SQLDatabase
    ) -> None:
        async def work(engine: AsyncEngine) -> None:
            async with AsyncSession(engine) as first:
                track(outbox, first, 1)
                await first.commit()
            async with AsyncSession(engine, info=first.info) as second:
                track(outbox, second, 2)
                await second.commit()

        run(database, work)
        assert database.get_numbers() == [1, 2]

    def test_a_call_that_is_refused_is_named_with_its_line(
        self, outbox: Outbox, database: SQLDatabase, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def work(engine: AsyncEngine) -> None:
            async with AsyncSession(engine) as session, session.begin():
                assert await outbox.atrack(session, "user_1", "Bad Name") is None

        run(database, work)
        outbox.client.shutdown()  # reports
        assert f"{Path(__file__).name}:" in caplog.text

    def test_tasks_of_one_loop_write_at_the_same_time(
        self, outbox: Outbox, postgres: SQLDatabase
    ) -> None:
        async def work(engine: AsyncEngine) -> None:
            async def one(n: int) -> None:
                async with AsyncSession(engine) as session, session.begin():
                    assert await atrack(outbox, session, n)

            await asyncio.gather(*(one(n) for n in range(20)))

        run(postgres, work)
        assert sorted(postgres.get_numbers()) == list(range(20))

    def test_a_cancelled_call_leaves_nothing_behind(
        self, outbox: Outbox, postgres: SQLDatabase
    ) -> None:
        async def work(engine: AsyncEngine) -> None:
            async with engine.connect() as locker, AsyncSession(engine) as session:
                await locker.execute(text("LOCK TABLE whisperr_outboxevent"))
                call = asyncio.ensure_future(atrack(outbox, session, 1))
                waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
                for _ in range(1_000):
                    if await locker.scalar(waiting):
                        break
                    await asyncio.sleep(0.01)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
                await session.rollback()
                await locker.rollback()
            async with AsyncSession(engine) as session, session.begin():
                assert await atrack(outbox, session, 2)

        run(postgres, work)
        assert postgres.get_numbers() == [2]


class TestNotAwaited:
    def test_the_row_is_written_with_the_commit_in_the_order_of_the_calls(
        self, outbox: Outbox, database: SQLDatabase
    ) -> None:
        async def work(engine: AsyncEngine) -> None:
            async with AsyncSession(engine) as session:
                assert track(outbox, session, 1)
                async with session.begin_nested():
                    track(outbox, session, 2)
                track(outbox, session, 3)
                assert outbox.client.stats().held == 3
                await session.commit()
                track(outbox, session, 4)
                await session.rollback()
                outbox.identify(session, "user_1", traits={"plan": "pro"})
                await session.commit()

        run(database, work)
        assert database.get_numbers() == [1, 2, 3, None]
        assert outbox.client.stats().accepted == 4  # what was rolled back is none

    def test_a_savepoint_that_is_rolled_back_drops_what_was_tracked_in_it(
        self, outbox: Outbox, database: SQLDatabase
    ) -> None:
        async def work(engine: AsyncEngine) -> None:
            async with AsyncSession(engine) as session, session.begin():
                track(outbox, session, 1)
                async with session.begin_nested() as outer:
                    track(outbox, session, 2)
                    async with session.begin_nested():
                        track(outbox, session, 3)
                    await outer.rollback()
                track(outbox, session, 4)

        run(database, work)
        assert database.get_numbers() == [1, 4]
        assert outbox.client.stats().accepted == 2

    def test_a_session_that_is_closed_or_forgotten_drops_it(
        self, outbox: Outbox, database: SQLDatabase
    ) -> None:
        async def work(engine: AsyncEngine) -> None:
            async with AsyncSession(engine) as session:
                track(outbox, session, 1)
            track(outbox, AsyncSession(engine), 2)

        run(database, work)
        gc.collect()  # a session and its transaction refer to each other
        assert database.get_rows() == []
        assert outbox.client.stats().accepted == 0

    def test_a_registry_of_sessions_is_the_session_of_now(
        self, outbox: Outbox, database: SQLDatabase
    ) -> None:
        async def work(engine: AsyncEngine) -> None:
            registry = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)
            track(outbox, registry, 1)
            await atrack(outbox, registry, 2)
            await registry.commit()
            await registry.remove()

        run(database, work)
        assert sorted(database.get_numbers()) == [1, 2]

    def test_a_row_that_cannot_be_written_is_reported_and_the_rest_is_committed(
        self, outbox: Outbox, database: SQLDatabase, errors: list[WhisperrError]
    ) -> None:
        database.execute("CREATE TABLE other (n INTEGER)")
        database.execute("ALTER TABLE whisperr_outboxevent RENAME TO elsewhere")

        async def work(engine: AsyncEngine) -> None:
            async with AsyncSession(engine) as session, session.begin():
                await session.execute(text("INSERT INTO other VALUES (1)"))
                assert track(outbox, session, 1)

        run(database, work)
        assert database.execute("SELECT n FROM other") == [(1,)]
        outbox.client.shutdown(5)
        (error,) = errors
        assert error.reason == "not_stored"
        assert "test_async.py:" in error.message  # the call, not the commit

    def test_sessions_that_track_nothing_are_not_listened_to(
        self, outbox: Outbox, database: SQLDatabase
    ) -> None:
        async def work(engine: AsyncEngine) -> None:
            async with AsyncSession(engine) as session:
                await session.execute(text("SELECT 1"))
                await session.commit()
                assert session.info == {}

        run(database, work)

    def test_a_capture_records_what_is_committed(
        self, outbox: Outbox, database: SQLDatabase
    ) -> None:
        async def work(engine: AsyncEngine) -> None:
            async with AsyncSession(engine) as session:
                track(outbox, session, 1)
                await atrack(outbox, session, 2)
                await session.commit()
                await atrack(outbox, session, 3)
                await session.rollback()

        with capture() as events:
            run(database, work)
        assert [one.properties["n"] for one in events] == [1, 2]
        assert database.get_rows() == []


class TestWrongUse:
    def test_a_connection_must_be_awaited(self, outbox: Outbox, database: SQLDatabase) -> None:
        async def work(engine: AsyncEngine) -> None:
            async with engine.connect() as connection:
                with pytest.raises(TypeError, match=r"await outbox\.atrack\(connection"):
                    track(outbox, connection, 1)
                with pytest.raises(TypeError, match=r"await outbox\.aidentify\(connection"):
                    outbox.identify(connection, "user_1")  # type: ignore[arg-type]  # wrong on purpose

        run(database, work)

    def test_a_session_that_is_not_async_is_not_awaited(self, client: Whisperr) -> None:
        from sqlalchemy.orm import Session

        with pytest.raises(TypeError, match=r"atrack: must get an AsyncSession or .* not Session"):
            asyncio.run(atrack(Outbox(client), Session(), 1))

    @pytest.mark.filterwarnings("ignore:.*coroutine")  # SQLAlchemy makes one, and awaits it not
    def test_the_inner_session_of_an_async_one_is_told_apart(
        self, client: Whisperr, sqlite: SQLDatabase
    ) -> None:
        outbox = Outbox(client, sqlite.events)

        async def work(engine: AsyncEngine) -> None:
            async with AsyncSession(engine) as session:
                assert track(outbox, session.sync_session, 1) is None
                assert "with the AsyncSession itself" in str(outbox.client.stats().problem)

        run(sqlite, work)

    def test_within_run_sync_the_inner_session_takes_rows(
        self, outbox: Outbox, database: SQLDatabase
    ) -> None:
        async def work(engine: AsyncEngine) -> None:
            async with AsyncSession(engine) as session, session.begin():
                assert await session.run_sync(lambda inner: track(outbox, inner, 1))

        run(database, work)
        assert database.get_numbers() == [1]
