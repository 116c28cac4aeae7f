"""The outbox in sessions and connections that are not async: rows in the caller's transaction."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from inspect import signature
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, event, select, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    scoped_session,
    sessionmaker,
)

from whisperr import Event, InvalidEvent, Whisperr
from whisperr.billing import Signal, Signals
from whisperr.sqlalchemy import Outbox, whisperr_table
from whisperr.testing import capture, send_to

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.sqlalchemy.databases import SQLDatabase
    from whisperr import WhisperrError
    from whisperr.dev import LocalServer


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "user_of_the_test"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


@pytest.fixture
def session(database: SQLDatabase) -> Iterator[Session]:
    Base.metadata.create_all(database.engine)
    with Session(database.engine) as made:
        yield made


def make_signal() -> Signal:
    return Signal(
        *("ada", "renewal_succeeded", {"price": Decimal("9.90")}),
        datetime.now(timezone.utc) - timedelta(days=2),
        "evt_1:renewal_succeeded",
        {"provider": "stripe"},
    )


def track(outbox: Outbox, session: Any, n: int) -> str | None:
    return outbox.track(session, "user_1", "plan_upgraded", {"n": n})


class TestTransactions:
    def test_a_commit_keeps_the_row_and_a_rollback_discards_it(
        self, outbox: Outbox, session: Session, database: SQLDatabase
    ) -> None:
        assert track(outbox, session, 1)
        session.rollback()
        assert track(outbox, session, 2)
        outbox.identify(session, "user_1", traits={"plan": "pro"})
        assert database.get_rows() == []  # nothing is committed for it
        session.commit()
        assert database.get_numbers() == [2, None]

    def test_a_signal_of_a_webhook_follows_the_transaction(
        self, outbox: Outbox, session: Session, database: SQLDatabase
    ) -> None:
        signal = make_signal()
        assert outbox.track_signal(session, signal) == signal.message_id
        session.rollback()
        assert database.get_rows() == []
        assert outbox.track_signal(session, signal) == signal.message_id
        session.commit()
        (body,) = (json.loads(row) for row in database.get_rows())
        assert (body["external_user_id"], body["event_type"]) == ("ada", "renewal_succeeded")
        assert body["properties"] == {"price": 9.9}
        assert body["context"]["$message_id"] == signal.message_id
        assert body["context"]["provider"] == "stripe"

    def test_what_is_no_signal_is_reported_and_writes_nothing(
        self,
        outbox: Outbox,
        session: Session,
        database: SQLDatabase,
        errors: list[WhisperrError],
    ) -> None:
        for given in (Signals([make_signal()]), {"id": "evt_1"}):
            assert outbox.track_signal(session, given) is None  # type: ignore[arg-type]
        session.commit()
        assert database.get_rows() == []
        assert outbox.client.stats().not_accepted == {"invalid": 2}

    def test_a_savepoint_that_is_rolled_back_discards_its_rows_only(
        self, outbox: Outbox, session: Session, database: SQLDatabase
    ) -> None:
        # Python's driver begins no transaction for a savepoint: an application does that itself.
        session.add(User(name="ada"))
        session.flush()
        track(outbox, session, 1)
        with session.begin_nested() as kept:
            track(outbox, session, 2)
            with session.begin_nested() as inner:
                track(outbox, session, 3)
                inner.rollback()
            kept.commit()
        discarded = session.begin_nested()
        track(outbox, session, 4)
        discarded.rollback()
        track(outbox, session, 5)
        session.commit()
        assert database.get_numbers() == [1, 2, 5]

    def test_what_the_caller_added_is_not_flushed(self, outbox: Outbox, session: Session) -> None:
        ada = User(name="ada")
        session.add(ada)
        assert track(outbox, session, 1)
        assert ada in session.new
        ada.name = "grace"
        session.commit()
        assert session.scalars(select(User.name)).all() == ["grace"]

    def test_a_connection_of_core_takes_rows_too(
        self, outbox: Outbox, database: SQLDatabase
    ) -> None:
        with database.engine.begin() as connection:
            assert track(outbox, connection, 1)
        with database.engine.connect() as connection:
            track(outbox, connection, 2)
            connection.rollback()
            track(outbox, connection, 3)
            connection.commit()
        assert database.get_numbers() == [1, 3]

    def test_a_registry_of_sessions_is_the_session_of_now(
        self, outbox: Outbox, database: SQLDatabase
    ) -> None:
        registry = scoped_session(sessionmaker(database.engine))
        track(outbox, registry, 1)
        registry.commit()
        registry.remove()
        assert database.get_numbers() == [1]

    def test_with_autocommit_the_row_is_there_at_once(
        self, outbox: Outbox, database: SQLDatabase
    ) -> None:
        engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
        with Session(engine) as session:
            assert track(outbox, session, 1)
            assert database.get_numbers() == [1]

    def test_with_an_engine_of_autocommit_too(self, outbox: Outbox, database: SQLDatabase) -> None:
        engine = create_engine(database.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            assert track(outbox, connection, 1)
        engine.dispose()
        assert database.get_numbers() == [1]

    def test_it_is_tracked_during_a_flush(
        self, outbox: Outbox, session: Session, database: SQLDatabase
    ) -> None:
        def listen(session: Session, *_: Any) -> None:
            outbox.track(session, "user_1", "plan_upgraded", {"n": len(session.new)})

        event.listen(session, "before_flush", listen)
        session.add(User(name="ada"))
        session.commit()
        assert database.get_numbers() == [1]

    def test_a_session_of_several_databases_writes_where_the_table_is(
        self, outbox: Outbox, database: SQLDatabase, tmp_path: Path
    ) -> None:
        other = create_engine(f"sqlite:///{tmp_path / 'other.sqlite3'}")
        Base.metadata.create_all(other)
        with Session(binds={User: other, database.events: database.engine}) as session:
            session.add(User(name="ada"))
            assert track(outbox, session, 1)
            session.commit()
        assert database.get_numbers() == [1]
        other.dispose()

    def test_a_session_that_is_bound_to_a_connection_takes_its_transaction(
        self, outbox: Outbox, database: SQLDatabase
    ) -> None:
        with database.engine.connect() as connection:
            connection.execute(select(1))
            with Session(connection, join_transaction_mode="rollback_only") as session:
                track(outbox, session, 1)
                session.commit()
            connection.rollback()
        assert database.get_numbers() == []

    def test_the_row_is_the_event_as_it_is_sent(
        self, outbox: Outbox, session: Session, database: SQLDatabase
    ) -> None:
        chosen = outbox.track(session, 7, "plan_upgraded", {"n": 1}, {"k": 1}, message_id="evt_1")
        session.commit()
        assert chosen == "evt_1"
        (data,) = database.get_rows()
        assert data.startswith(b'{"event_type":"plan_upgraded","external_user_id":"7",')
        assert b'"$message_id":"evt_1"' in data

    def test_a_typed_event_takes_the_place_of_a_name_and_properties(
        self, outbox: Outbox, session: Session, database: SQLDatabase
    ) -> None:
        class PlanUpgraded(Event):
            plan: str

        outbox.track(session, 7, PlanUpgraded(plan="pro"))
        session.commit()
        (data,) = database.get_rows()
        assert data.startswith(b'{"event_type":"plan_upgraded","external_user_id":"7",')
        assert b'"properties":{"plan":"pro"}' in data

    def test_two_phases_commit_it(self, client: Whisperr, postgres: SQLDatabase) -> None:
        outbox = Outbox(client, postgres.events)
        with Session(postgres.engine, twophase=True) as session:
            track(outbox, session, 1)
            session.rollback()
        assert postgres.get_numbers() == []
        counts = "SELECT setting FROM pg_settings WHERE name = 'max_prepared_transactions'"
        if postgres.execute(counts) == [("0",)]:
            return  # this server prepares no transaction
        with Session(postgres.engine, twophase=True) as session:
            track(outbox, session, 2)
            session.commit()
        assert postgres.get_numbers() == [2]


class TestCounts:
    def test_what_is_written_is_accepted_and_delivered_by_others(
        self, outbox: Outbox, session: Session
    ) -> None:
        track(outbox, session, 1)
        outbox.identify(session, "user_1", traits={"plan": "pro"})
        stats = outbox.client.stats()
        assert (stats.accepted, stats.held, stats.problem) == (2, 2, None)
        assert outbox.client.flush(5) is True

    def test_bad_data_is_reported_and_the_transaction_goes_on(
        self,
        outbox: Outbox,
        session: Session,
        database: SQLDatabase,
        errors: list[WhisperrError],
    ) -> None:
        assert outbox.track(session, "user_1", "Plan Upgraded") is None
        outbox.identify(session, "user_1", traits=7)  # type: ignore[arg-type]  # bad on purpose
        track(outbox, session, 1)
        session.commit()
        outbox.client.shutdown(5)
        assert outbox.client.stats().not_accepted == {"invalid": 2}
        assert errors[0].reason == "invalid"
        assert database.get_numbers() == [1]

    def test_strict_raises_for_bad_data(self, database: SQLDatabase, session: Session) -> None:
        outbox = Outbox(Whisperr("wrk_test", strict=True), database.events)
        with pytest.raises(InvalidEvent):
            outbox.track(session, "user_1", "Plan Upgraded")

    def test_a_disabled_client_writes_nothing(
        self, database: SQLDatabase, session: Session
    ) -> None:
        outbox = Outbox(Whisperr(disabled=True), database.events)
        assert track(outbox, session, 1) is None
        outbox.identify(session, "user_1")
        assert not session.in_transaction()

    def test_a_client_that_is_shut_down_writes_nothing(
        self, outbox: Outbox, session: Session
    ) -> None:
        outbox.client.shutdown(1)
        assert track(outbox, session, 1) is None
        assert outbox.client.stats().not_accepted == {"closed": 1}
        assert not session.in_transaction()

    def test_an_event_that_is_too_large_is_dropped(
        self, database: SQLDatabase, session: Session
    ) -> None:
        client = Whisperr("wrk_test", max_queue_bytes=1_024)
        outbox = Outbox(client, database.events)
        assert outbox.track(session, "user_1", "plan_upgraded", {"n": "x" * 1_024}) is None
        assert client.stats().dropped == {"too_large": 1}
        client.shutdown(1)

    def test_before_send_sees_the_event(self, database: SQLDatabase, session: Session) -> None:
        client = Whisperr("wrk_test", before_send=lambda one: None)
        assert track(Outbox(client, database.events), session, 1) is None
        assert client.stats().not_accepted == {"vetoed": 1}
        client.shutdown(1)

    def test_the_client_may_come_from_a_function(
        self, client: Whisperr, database: SQLDatabase, session: Session
    ) -> None:
        outbox = Outbox(lambda: client, database.events)
        assert track(outbox, session, 1)
        assert outbox.client is client

    def test_without_a_table_that_of_the_default_schema_is_used(
        self, client: Whisperr, database: SQLDatabase, session: Session
    ) -> None:
        track(Outbox(client), session, 1)
        session.commit()
        assert database.get_numbers() == [1]


class TestFailures:
    def test_a_row_that_cannot_be_written_leaves_the_transaction_as_it_was(
        self,
        outbox: Outbox,
        session: Session,
        database: SQLDatabase,
        errors: list[WhisperrError],
    ) -> None:
        database.execute("ALTER TABLE whisperr_outboxevent RENAME TO elsewhere")
        session.add(User(name="ada"))
        session.flush()
        assert track(outbox, session, 1) is None
        session.add(User(name="grace"))
        session.commit()
        assert len(session.scalars(select(User.id)).all()) == 2
        stats = outbox.client.stats()
        assert (stats.accepted, stats.not_accepted) == (0, {"not_stored": 1})
        assert "has no table whisperr_outboxevent; run a migration" in str(stats.problem)
        outbox.client.shutdown(5)
        (error,) = errors
        assert error.reason == "not_stored"
        assert "test_outbox.py:" in error.message
        assert "user_1" not in error.message

    def test_it_works_again_after_that(
        self, outbox: Outbox, session: Session, database: SQLDatabase
    ) -> None:
        database.execute("ALTER TABLE whisperr_outboxevent RENAME TO elsewhere")
        track(outbox, session, 1)
        session.rollback()
        database.execute("ALTER TABLE elsewhere RENAME TO whisperr_outboxevent")
        assert track(outbox, session, 2)
        session.commit()
        assert outbox.client.stats().problem is None
        assert database.get_numbers() == [2]

    def test_a_problem_of_the_clients_own_buffer_stays(
        self, outbox: Outbox, session: Session
    ) -> None:
        from whisperr._client import get_pipeline

        pipeline = get_pipeline(outbox.client)
        assert pipeline is not None
        pipeline.accounting.store_problem("the buffer is away")
        track(outbox, session, 1)
        assert outbox.client.stats().problem == "the buffer is away"

    def test_a_flush_that_failed_waits_for_its_rollback(
        self, outbox: Outbox, session: Session
    ) -> None:
        session.add_all([User(name="ada"), User(name="ada")])
        with pytest.raises(IntegrityError):
            session.flush()
        track(outbox, session, 1)  # a session that has rolled back starts again
        session.rollback()
        nested = session.begin()
        session.add_all([User(name="ada"), User(name="ada")])
        with pytest.raises(IntegrityError):
            session.flush()
        del nested
        assert track(outbox, session, 2) is None
        assert "must be rolled back" in str(outbox.client.stats().problem)

    def test_a_transaction_that_the_database_refuses_waits_for_its_rollback(
        self, client: Whisperr, postgres: SQLDatabase
    ) -> None:
        outbox = Outbox(client, postgres.events)
        with postgres.engine.connect() as connection:
            with pytest.raises(SQLAlchemyError):
                connection.execute(text("SELECT 1 / 0"))
            assert track(outbox, connection, 1) is None
            assert "must be rolled back" in str(client.stats().problem)
            connection.rollback()
            assert track(outbox, connection, 2)

    def test_a_read_only_transaction_goes_on(self, client: Whisperr, postgres: SQLDatabase) -> None:
        outbox = Outbox(client, postgres.events)
        with postgres.engine.connect() as connection:
            connection.execute(text("SET TRANSACTION READ ONLY"))
            assert track(outbox, connection, 1) is None
            assert connection.scalar(text("SELECT 1")) == 1
        assert "(25006)" in str(client.stats().problem)

    def test_a_connection_that_was_cut_commits_nothing_of_the_transaction(
        self, client: Whisperr, postgres: SQLDatabase
    ) -> None:
        outbox = Outbox(client, postgres.events)
        Base.metadata.create_all(postgres.engine)
        with Session(postgres.engine) as session:
            session.add(User(name="ada"))
            session.flush()
            pid = session.scalar(text("SELECT pg_backend_pid()"))
            postgres.execute(f"SELECT pg_terminate_backend({pid})")
            assert track(outbox, session, 1) is None
            with pytest.raises(SQLAlchemyError):
                session.commit()
            session.rollback()
            assert track(outbox, session, 2)  # with another connection
            session.commit()
            assert session.scalars(select(User)).all() == []
        assert postgres.get_numbers() == [2]
        assert client.stats().not_accepted == {"not_stored": 1}

    def test_a_serialization_failure_reaches_the_caller_and_nothing_can_be_committed(
        self, client: Whisperr, postgres: SQLDatabase
    ) -> None:
        outbox = Outbox(client, postgres.events)
        postgres.execute(
            "CREATE FUNCTION fail() RETURNS trigger AS $$ BEGIN "
            "RAISE EXCEPTION 'conflict' USING ERRCODE = '40001'; END $$ LANGUAGE plpgsql"
        )
        postgres.execute(
            "CREATE TRIGGER fails BEFORE INSERT ON whisperr_outboxevent "
            "FOR EACH ROW EXECUTE FUNCTION fail()"
        )
        Base.metadata.create_all(postgres.engine)
        with Session(postgres.engine) as session:
            session.add(User(name="ada"))
            session.flush()
            with pytest.raises(SQLAlchemyError, match="conflict"):
                track(outbox, session, 1)
            with pytest.raises(SQLAlchemyError):
                session.commit()
        with Session(postgres.engine) as session:
            assert session.scalars(select(User)).all() == []
        assert client.stats().accepted == 0
        assert "has ended the caller's transaction" in str(client.stats().problem)

    def test_a_transaction_that_sqlite_rolled_back_reaches_the_caller(
        self, client: Whisperr, sqlite: SQLDatabase
    ) -> None:
        outbox = Outbox(client, sqlite.events)
        sqlite.execute(
            "CREATE TRIGGER fails BEFORE INSERT ON whisperr_outboxevent "
            "BEGIN SELECT RAISE(ROLLBACK, 'the disk is full'); END"
        )
        Base.metadata.create_all(sqlite.engine)
        with Session(sqlite.engine) as session:
            session.add(User(name="ada"))
            session.flush()
            with pytest.raises(SQLAlchemyError, match="the disk is full"):
                track(outbox, session, 1)
            with pytest.raises(SQLAlchemyError):
                session.commit()
        with Session(sqlite.engine) as session:
            assert session.scalars(select(User)).all() == []

    def test_a_session_without_a_database_is_told_how_to_name_one(self, outbox: Outbox) -> None:
        with Session() as session:
            assert track(outbox, session, 1) is None
        assert "Session(binds={events: engine})" in str(outbox.client.stats().problem)

    def test_a_session_that_begins_by_hand_is_not_begun(
        self, outbox: Outbox, database: SQLDatabase
    ) -> None:
        with Session(database.engine, autobegin=False) as session:
            assert track(outbox, session, 1) is None
            assert "Autobegin is disabled" in str(outbox.client.stats().problem)
            with session.begin():
                assert track(outbox, session, 2)
        assert database.get_numbers() == [2]

    def test_what_a_listener_tracks_during_the_write_is_reported(
        self, outbox: Outbox, session: Session, database: SQLDatabase
    ) -> None:
        inner: list[object] = []

        def listen(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("INSERT INTO whisperr"):
                inner.append(outbox.track(connection, "user_1", "seen", {"n": 2}))

        event.listen(database.engine, "before_cursor_execute", listen)
        assert track(outbox, session, 1)
        session.commit()
        assert inner == [None]
        assert outbox.client.stats().not_accepted == {"not_stored": 1}
        assert database.get_numbers() == [1]

    def test_an_interruption_undoes_the_row_and_reaches_the_caller(
        self, outbox: Outbox, session: Session, database: SQLDatabase
    ) -> None:
        class SoftTimeLimitExceeded(Exception):
            __module__, __qualname__ = "billiard.exceptions", "SoftTimeLimitExceeded"

        def interrupt(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("INSERT INTO whisperr"):
                raise SoftTimeLimitExceeded

        session.add(User(name="ada"))
        session.flush()
        event.listen(database.engine, "after_cursor_execute", interrupt)
        with pytest.raises(SoftTimeLimitExceeded):
            track(outbox, session, 1)
        event.remove(database.engine, "after_cursor_execute", interrupt)
        assert track(outbox, session, 2)
        session.commit()
        assert database.get_numbers() == [2]


class TestSameWords:
    @pytest.mark.parametrize("name", ["track", "identify", "atrack", "aidentify"])
    def test_the_parameters_are_those_of_the_client_after_the_session(self, name: str) -> None:
        _, session, *ours = signature(getattr(Outbox, name)).parameters.values()
        _, *theirs = signature(getattr(Whisperr, name.removeprefix("a"))).parameters.values()
        assert session.name == "session"
        assert ours == theirs


class TestWrongUse:
    @pytest.mark.parametrize("wrong", [None, "session", object()])
    def test_what_is_no_session_is_an_error_that_says_what_is_one(
        self, client: Whisperr, wrong: Any
    ) -> None:
        with pytest.raises(TypeError, match="must get a Session, scoped_session, Connection or"):
            track(Outbox(client), wrong, 1)

    def test_an_unknown_argument_is_an_error(self, client: Whisperr) -> None:
        outbox: Any = Outbox(client)
        with pytest.raises(TypeError, match="unexpected keyword argument 'ocurred_at'"):
            outbox.track(None, "user_1", "seen", ocurred_at=None)
        with pytest.raises(TypeError, match="unexpected keyword argument 'mail'"):
            outbox.identify(None, "user_1", mail="ada@example.com")

    @pytest.mark.parametrize("client", [None, "wrk_secret"])
    def test_what_is_no_client_is_an_error(self, client: Any) -> None:
        with pytest.raises(TypeError, match="metadata: must be a MetaData, such as Base"):
            whisperr_table(object())  # type: ignore[arg-type]  # that is the test
        with pytest.raises(TypeError, match="client: must be a Whisperr"):
            Outbox(client)

    @pytest.mark.parametrize("wrong", ["events", User.__table__])
    def test_what_is_no_table_of_an_outbox_is_an_error(self, client: Whisperr, wrong: Any) -> None:
        with pytest.raises(TypeError, match="events: must be what whisperr_table returns"):
            Outbox(client, wrong)


class TestTables:
    def test_it_is_made_once_for_a_metadata(self) -> None:
        metadata = MetaData()
        events = whisperr_table(metadata)
        assert whisperr_table(metadata) is events
        assert sorted(metadata.tables) == ["whisperr_deadletter", "whisperr_outboxevent"]

    @pytest.mark.parametrize("metadata", [MetaData(), MetaData(schema="crm")])
    def test_a_schema_is_that_of_both_tables(self, metadata: MetaData) -> None:
        events = whisperr_table(metadata, None if metadata.schema else "crm")
        assert whisperr_table(metadata, "crm") is events
        assert sorted(metadata.tables) == ["crm.whisperr_deadletter", "crm.whisperr_outboxevent"]

    def test_another_table_of_that_name_is_an_error(self) -> None:
        metadata = MetaData()
        Table("whisperr_outboxevent", metadata, Column("id", Integer), Column("x", String))
        with pytest.raises(ValueError, match="another table 'whisperr_outboxevent'"):
            whisperr_table(metadata)

    def test_a_schema_is_written_to(self, client: Whisperr, postgres: SQLDatabase) -> None:
        postgres.execute("CREATE SCHEMA crm")
        metadata = MetaData()
        events = whisperr_table(metadata, schema="crm")
        metadata.create_all(postgres.engine)
        with postgres.engine.begin() as connection:
            assert track(Outbox(client, events), connection, 1)
        assert postgres.execute("SELECT count(*) FROM crm.whisperr_outboxevent") == [(1,)]
        assert postgres.get_rows() == []


class TestInTests:
    def test_a_capture_records_what_is_committed_and_writes_no_row(
        self, outbox: Outbox, session: Session, database: SQLDatabase
    ) -> None:
        with capture() as events:
            track(outbox, session, 1)
            session.rollback()
            track(outbox, session, 2)
            with session.begin_nested() as inner:
                track(outbox, session, 3)
                inner.rollback()
            with session.begin_nested():
                track(outbox, session, 4)
            assert len(events) == 0
            session.commit()
            assert [one.properties["n"] for one in events] == [2, 4]
        assert database.get_rows() == []

    def test_a_local_server_gets_what_is_committed(
        self, outbox: Outbox, session: Session, database: SQLDatabase, server: LocalServer
    ) -> None:
        with send_to(server.url):
            track(outbox, session, 1)
            session.commit()
            with database.engine.begin() as connection:
                track(outbox, connection, 2)
        assert [a.body["properties"]["n"] for a in server.arrivals()] == [1, 2]
        assert database.get_rows() == []
