"""`whisperr relay` and `whisperr outbox`: what they print, and what they refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("sqlalchemy")

from tests.cli.conftest import call, server
from tests.outbox.relays import events
from whisperr.dev import faults

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call
    from tests.sqlalchemy.databases import SQLDatabase
    from whisperr.dev import LocalServer

__all__ = ["call", "server"]  # fixtures

OFTEN = ("--once", "--interval", "0.05")


def add(database: SQLDatabase, count: int) -> None:
    claims = database.connect()
    claims.add(events(count))
    claims.close()


class TestRelay:
    def test_once_delivers_everything_and_ends(
        self, call: Call, server: LocalServer, database: SQLDatabase
    ) -> None:
        add(database, 7)
        ended = call("relay", "--database", database.url, *OFTEN, "--batch", "3")
        assert (ended.code, ended.err) == (0, "")
        first, *_, last = ended.out.splitlines()
        backend = "sqlite" if database.is_sqlite else "postgresql"
        assert first.startswith(f"relaying from the {backend} database '")
        assert first.endswith(", 3 events at most")
        assert last == "stopped: delivered 7, dead letters 0"
        assert [a.body["properties"]["n"] for a in server.arrivals()] == list(range(7))
        assert database.get_rows() == []

    def test_the_url_may_be_in_the_environment(
        self, call: Call, server: LocalServer, sqlite: SQLDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add(sqlite, 1)
        monkeypatch.setenv("WHISPERR_DATABASE_URL", sqlite.async_url)
        assert call("relay", *OFTEN).code == 0
        server.wait(1, timeout=10)

    def test_a_schema_is_relayed_from(
        self, call: Call, server: LocalServer, postgres: SQLDatabase
    ) -> None:
        add(postgres, 2)
        postgres.execute("CREATE SCHEMA crm")
        postgres.execute("ALTER TABLE whisperr_outboxevent SET SCHEMA crm")
        postgres.execute("ALTER TABLE whisperr_deadletter SET SCHEMA crm")
        ended = call("relay", "--database", postgres.url, *OFTEN)
        assert ended.code == 1
        assert "or name their schema with --schema" in ended.err
        assert call("relay", "--database", postgres.url, "--schema", "crm", *OFTEN).code == 0
        server.wait(2, timeout=10)

    def test_once_fails_with_the_reason_when_it_cannot_deliver(
        self, call: Call, server: LocalServer, sqlite: SQLDatabase
    ) -> None:
        add(sqlite, 2)
        server.set_faults(faults.wrong_key())
        ended = call("relay", "--database", sqlite.url, *OFTEN)
        assert ended.code == 1
        assert "whisperr relay: not everything was delivered:" in ended.err
        assert "HTTP 401" in ended.err
        assert ended.err.endswith('run "whisperr outbox"\n')
        free = "SELECT count(*) FROM whisperr_outboxevent WHERE token = ''"
        assert sqlite.execute(free) == [(2,)]

    def test_a_row_that_is_no_event_is_set_aside_and_named_with_the_command(
        self, call: Call, server: LocalServer, sqlite: SQLDatabase, caplog: Any
    ) -> None:
        claims = sqlite.connect()
        claims.add([b"nothing", *events(1)])
        claims.close()
        ended = call("relay", "--database", sqlite.url, *OFTEN)
        assert "delivered 1, dead letters 1 (invalid 1)" in ended.out
        assert caplog.messages[-1].endswith('run "whisperr outbox"')

    @pytest.mark.parametrize(
        ("words", "text"),
        [
            (("--batch", "0"), "--batch 0: must be from 1 to 500"),
            (("--interval", "0"), "--interval 0: must be from 0.01 to 3600"),
            (("--lease", "0.5"), "--lease 0.5: must be from 1 to 3600"),
        ],
    )
    def test_an_option_out_of_its_range_is_refused(
        self, call: Call, sqlite: SQLDatabase, words: tuple[str, ...], text: str
    ) -> None:
        ended = call("relay", "--database", sqlite.url, *words)
        assert (ended.code, ended.err) == (2, f"whisperr relay: {text}\n")

    def test_without_a_key_it_says_how_to_set_one(self, call: Call, sqlite: SQLDatabase) -> None:
        ended = call("relay", "--database", sqlite.url)
        assert ended.code == 2
        assert "WHISPERR_API_KEY" in ended.err

    def test_where_it_is_disabled_it_says_so(
        self, call: Call, sqlite: SQLDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WHISPERR_DISABLED", "1")
        ended = call("relay", "--database", sqlite.url)
        assert (ended.code, "WHISPERR_DISABLED is set" in ended.err) == (2, True)


SECRET = "hunter2"
HAS_MYSQL = any(find_spec(name) is not None for name in ("MySQLdb", "pymysql", "mysql"))
NEEDS_PSYCOPG = pytest.mark.skipif(find_spec("psycopg") is None, reason="psycopg: not installed")


class TestDatabases:
    @pytest.mark.parametrize("command", ["relay", "outbox"])
    def test_without_a_database_it_says_how_to_name_one(self, call: Call, command: str) -> None:
        ended = call(command)
        assert ended.code == 2
        assert "which database? --database URL, or WHISPERR_DATABASE_URL" in ended.err

    @pytest.mark.parametrize(
        ("url", "code", "text"),
        [
            (f"{SECRET}", 2, "--database is not the URL of a database; write it as postgresql://"),
            (f"postgresql://a:{SECRET}@h:port/x", 2, "--database is not the URL of a database"),
            (f"mongodb://a:{SECRET}@h/x", 2, "--database names 'mongodb': must be one of postgr"),
            ("sqlite://", 2, "names a database in memory, which no other process can see"),
            ("sqlite:///:memory:", 2, "names a database in memory"),
            ("sqlite:////nowhere/app.db", 1, "there is no file '/nowhere/app.db'"),
            pytest.param(
                f"mysql+asyncmy://a:{SECRET}@h/x",
                2,
                "needs a driver for mysql (asyncmy is for asyncio only): pip install mysqlclient",
                marks=pytest.mark.skipif(HAS_MYSQL, reason="a driver of MySQL is installed"),
            ),
            pytest.param(
                f"postgres://ada:{SECRET}@127.0.0.1:9/x",
                1,
                "the postgresql database 'x' at 127.0.0.1 cannot be used: ",
                marks=NEEDS_PSYCOPG,
            ),
            pytest.param(
                f"postgresql+asyncpg://ada:{SECRET}@127.0.0.1:9/x?ssl=disable",
                1,
                "the postgresql database 'x' at 127.0.0.1 cannot be used: ",
                marks=NEEDS_PSYCOPG,
            ),
            pytest.param(
                f"postgresql://127.0.0.1:9/x?password={SECRET}&no=1",
                1,
                "cannot be used: ",
                marks=NEEDS_PSYCOPG,
            ),
            (f"postgresql+nothing://a:{SECRET}@h/x", 1, "cannot be used: "),
        ],
    )
    @pytest.mark.parametrize("variable", [False, True])
    def test_a_url_that_is_no_good_is_refused_without_its_password(
        self,
        call: Call,
        monkeypatch: pytest.MonkeyPatch,
        url: str,
        code: int,
        text: str,
        variable: bool,
    ) -> None:
        if variable:
            monkeypatch.setenv("WHISPERR_DATABASE_URL", url)
            ended = call("outbox")
            text = text.replace("--database", "WHISPERR_DATABASE_URL")
        else:
            ended = call("outbox", "--database", url)
        assert (ended.code, ended.out) == (code, "")
        assert text in ended.err
        assert ended.err.count("\n") == 1
        assert SECRET not in ended.err

    def test_a_database_without_the_tables_says_what_makes_them(
        self, call: Call, sqlite: SQLDatabase
    ) -> None:
        sqlite.metadata.drop_all(sqlite.engine)
        ended = call("outbox", "--database", sqlite.url)
        assert ended.code == 1
        assert "has no table whisperr_outboxevent and no table whisperr_deadletter" in ended.err
        assert "run the migration of your application that makes them" in ended.err

    def test_a_file_that_is_no_database_is_refused(self, call: Call, tmp_path: Path) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("nothing of the kind " * 100)
        ended = call("outbox", "--database", f"sqlite:///{path}")
        assert ended.code == 1
        assert "cannot be used: (sqlite3.DatabaseError) file is not a database" in ended.err
        assert path.read_text().startswith("nothing of the kind")


@pytest.mark.parametrize("command", ["relay", "outbox"])
def test_without_sqlalchemy_the_commands_say_what_to_install(command: str) -> None:
    program = (
        "import sys\n"
        "sys.modules['sqlalchemy'] = None  # as if it were not installed\n"
        "from whisperr._cli.main import main\n"
        "sys.exit(main([sys.argv[1], '--database', 'sqlite:///app.db']))"
    )
    words = [sys.executable, "-c", program, command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        f"whisperr {command}: whisperr.sqlalchemy needs SQLAlchemy: "
        "pip install 'whisperr[sqlalchemy]'\n"
    )


class TestOutbox:
    def refuse(self, database: SQLDatabase, call: Call, server: LocalServer) -> None:
        """Have the server refuse one of two events."""
        bad = events(1)[0].replace(b'"properties":{"n":0}', b'"properties":[]')
        claims = database.connect()
        claims.add([bad, *events(1, first=1)])
        claims.close()
        server.set_faults(faults.legacy())
        assert call("relay", "--database", database.url, *OFTEN).code == 0
        server.set_faults()

    def test_it_counts_what_waits_and_what_was_refused(
        self, call: Call, server: LocalServer, database: SQLDatabase
    ) -> None:
        self.refuse(database, call, server)
        add(database, 3)
        ended = call("outbox", "--database", database.url)
        waiting, claimed, dead = ended.out.splitlines()
        assert waiting.startswith("waiting   3, the oldest row for ")
        assert (claimed, dead) == ("claimed   0", "dead      1: rejected 1")

    def test_it_lists_dead_letters_without_their_content(
        self, call: Call, server: LocalServer, database: SQLDatabase
    ) -> None:
        self.refuse(database, call, server)
        ended = call("outbox", "--database", database.url, "--dead")
        line = ended.out.splitlines()[-1]
        assert "payment_failed  rejected 400: " in line
        assert "user_0" not in ended.out
        shown = call("outbox", "--database", database.url, "--dead", "5", "--json")
        (one,) = json.loads(shown.out)["letters"]
        assert (one["reason"], one["status"], one["kind"]) == ("rejected", 400, "payment_failed")
        assert one["created_at"] < one["refused_at"]

    def test_what_is_requeued_is_delivered(
        self, call: Call, server: LocalServer, database: SQLDatabase
    ) -> None:
        self.refuse(database, call, server)
        ended = call("outbox", "--database", database.url, "--requeue", "--all")
        assert ended.out.splitlines()[0] == "requeued  1"
        assert len(database.get_rows()) == 1
        assert call("outbox", "--database", database.url, "--requeue", "7").out.startswith(
            "requeued  0"
        )

    def test_old_ones_are_deleted(
        self, call: Call, server: LocalServer, database: SQLDatabase
    ) -> None:
        self.refuse(database, call, server)
        assert "pruned    0" in call("outbox", "--database", database.url, "--prune", "1").out
        assert "pruned    1" in call("outbox", "--database", database.url, "--prune", "0").out

    @pytest.mark.parametrize(
        ("words", "text"),
        [
            (("--requeue",), "--requeue: name the ids of dead letters, or add --all"),
            (("--all",), "--all: only with --requeue"),
            (("--prune", "-1"), "--prune -1: must not be below 0"),
            (("--prune", "nan"), "--prune nan: must not be below 0"),
            (("--prune", "1e9"), "--prune 1e+09: must not be above 1,000,000"),
            (("--requeue", str(2**70)), f"--requeue {2**70}: is not the id"),
        ],
    )
    def test_options_that_do_not_fit_are_refused(
        self, call: Call, sqlite: SQLDatabase, words: tuple[str, ...], text: str
    ) -> None:
        ended = call("outbox", "--database", sqlite.url, *words)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith(f"whisperr outbox: {text}")

    def test_damaged_dates_are_shown_as_they_are(self, call: Call, sqlite: SQLDatabase) -> None:
        sqlite.execute(
            "INSERT INTO whisperr_deadletter (data, reason, message, created_at, refused_at) "
            "VALUES ('[1', 'odd', 'a' || char(27) || '[31m', 'never', X'ff00')"
        )
        sqlite.execute(
            "INSERT INTO whisperr_outboxevent (data, token, created_at) VALUES (1, '', 'never')"
        )
        ended = call("outbox", "--database", sqlite.url, "--dead")
        assert ended.code == 0
        assert "\x1b" not in ended.out
        assert ended.out.splitlines()[0] == "waiting   1"
        assert "odd: a\\x1b[31m" in ended.out
