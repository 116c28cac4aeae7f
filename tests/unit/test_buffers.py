"""`buffer=`: what a URL or an object stands for, and what is refused with the fix."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from whisperr import Whisperr
from whisperr.buffers import SQLiteBuffer, parse_buffer_url

CWD = Path.cwd()


class TestSQLiteURL:
    @pytest.mark.parametrize(
        ("url", "config"),
        [
            ("sqlite:////var/lib/app/events.db", SQLiteBuffer("/var/lib/app/events.db")),
            ("sqlite:///events.db", SQLiteBuffer(CWD / "events.db")),
            ("sqlite:///data/events.db", SQLiteBuffer(CWD / "data" / "events.db")),
            ("sqlite:////a%20b/%C3%BC.db", SQLiteBuffer("/a b/ü.db")),
            ("sqlite:////e.db?synchronous=FULL", SQLiteBuffer("/e.db", synchronous="FULL")),
            ("SQLite:////E.db", SQLiteBuffer("/E.db")),
            ("sqlite:////e.db?lease=30", SQLiteBuffer("/e.db", lease=30.0)),
            ("sqlite:////e.db?dead_letters=true", SQLiteBuffer("/e.db", dead_letters=True)),
            ("sqlite:////e.db?dead_letters=1", SQLiteBuffer("/e.db", dead_letters=True)),
            ("sqlite:////e.db?dead_letters=off", SQLiteBuffer("/e.db")),
            (
                "sqlite:////e.db?lease=2.5&synchronous=NORMAL",
                SQLiteBuffer("/e.db", synchronous="NORMAL", lease=2.5),
            ),
        ],
    )
    def test_it_names_the_file_and_its_options(self, url: str, config: SQLiteBuffer) -> None:
        assert parse_buffer_url(url) == config

    @pytest.mark.parametrize(
        ("url", "fix"),
        [
            ("", "sqlite:////var/lib/app/events.db"),
            ("events.db", "sqlite:////var/lib/app/events.db"),
            ("/var/lib/app/events.db", "sqlite:////var/lib/app/events.db"),
            (
                "sqlte:///x.db",
                "not sqlte://; did you mean sqlite://? Write it such as",
            ),
            ("kafka://u:secret@h", "buffer: must be a URL of a known scheme, not kafka://. Write"),
            ("sqlite:events.db", "sqlite:////var/lib/app/events.db"),
            ("sqlite://events.db", "buffer: write three slashes before the path, such as"),
            ("sqlite://", "buffer: write three slashes before the path, such as"),
            ("sqlite:///", "buffer: write three slashes before the path, such as"),
            (
                "sqlite:////e.db?sync=FULL",
                "unknown option 'sync'; allowed: dead_letters, lease, synchronous",
            ),
            ("sqlite:////e.db?synchronous=full", "must be NORMAL or FULL"),
            ("sqlite:////e.db?synchronous=", "must be NORMAL or FULL"),
            ("sqlite:////e.db?synchronous", "is not name=value"),
            (
                "sqlite:////e.db?dead_letters=2",
                "dead_letters=2.0: must be 1, true, yes, on, 0, false",
            ),
            ("sqlite:////e.db?dead_letters=maybe", "dead_letters='maybe': must be 1, true, yes"),
            ("sqlite:////e.db?lease=0.5", "must be from 1 to 3600 seconds"),
            ("sqlite:////e.db?lease=-5", "must be from 1 to 3600 seconds"),
            ("sqlite:////e.db?lease=soon", "must be from 1 to 3600 seconds"),
            ("sqlite:////e%00.db", "must be the path of a file"),
            ("sqlite:///:memory:", "omit buffer to hold events in memory"),
        ],
    )
    def test_a_wrong_one_is_refused_at_construction_with_the_fix(self, url: str, fix: str) -> None:
        with pytest.raises(ValueError, match=re.escape(fix)):
            Whisperr("wrk_test", buffer=url)

    def test_the_outbox_of_django_is_opened_by_its_integration_only(self) -> None:
        with pytest.raises(ValueError, match=r"use whisperr\.django\.get_client\(\)"):
            Whisperr("wrk_test", buffer="django")

    def test_the_environment_names_the_buffer_when_no_option_does(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("WHISPERR_BUFFER", f"sqlite:///{tmp_path}/named.db")
        with Whisperr("wrk_test"):
            assert (tmp_path / "named.db").exists()
        with Whisperr("wrk_test", buffer=SQLiteBuffer(tmp_path / "given.db")):
            assert (tmp_path / "given.db").exists()

    def test_an_empty_environment_means_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WHISPERR_BUFFER", "")
        with Whisperr("wrk_test") as client:
            assert client.stats().stored == 0

    def test_a_wrong_environment_is_refused_as_well(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WHISPERR_BUFFER", "nonsense")
        with pytest.raises(ValueError, match=r"^WHISPERR_BUFFER: must be a URL"):
            Whisperr("wrk_test")
        monkeypatch.setenv("WHISPERR_BUFFER", "redis://u:secret@/:x")
        with pytest.raises(ValueError, match=r"^WHISPERR_BUFFER: must be redis://") as caught:
            Whisperr("wrk_test")
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql+psycopg", "mysql", "MariaDB"])
def test_the_url_of_a_database_is_answered_with_the_outboxes(scheme: str) -> None:
    outboxes = "use whisperr.sqlalchemy.Outbox or, in Django, WHISPERR_BUFFER = 'django'"
    with pytest.raises(ValueError, match=re.escape(outboxes)) as caught:
        parse_buffer_url(f"{scheme}://user:secret@host/db")
    assert "secret" not in str(caught.value)


def test_a_database_in_memory_is_refused_and_makes_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="omit buffer to hold events in memory"):
        SQLiteBuffer(":memory:")
    assert SQLiteBuffer("./:memory:").path == str(tmp_path / ":memory:")
    assert list(tmp_path.iterdir()) == []


class TestConfigs:
    def test_a_config_is_a_value(self) -> None:
        config = SQLiteBuffer("/e.db", synchronous="FULL")
        assert pickle.loads(pickle.dumps(config)) == config
        assert config != SQLiteBuffer("/e.db")
        with pytest.raises(AttributeError, match="cannot be changed"):
            config.path = "/other.db"

    def test_a_relative_path_stays_where_it_was(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert SQLiteBuffer("events.db").path == str(tmp_path / "events.db")

    @pytest.mark.parametrize("wrong", [7, object(), [], True, Path("/e.db")])
    def test_an_object_that_is_no_buffer_is_refused(self, wrong: object) -> None:
        with pytest.raises(ValueError, match=r"buffer=.+: must be a URL .+, an object of"):
            Whisperr("wrk_test", buffer=wrong)  # type: ignore[arg-type]  # that is the test
