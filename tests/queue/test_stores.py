"""The contract of all stores, for a SQLite file and for Redis streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.queue.processes import RedisProcesses, SQLiteProcesses
from tests.queue.store_contract import PuttingStoreContract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.redis_server import RedisServer


class TestSQLite(PuttingStoreContract):
    @pytest.fixture
    def processes(self, tmp_path: Path) -> Iterator[SQLiteProcesses]:
        made = SQLiteProcesses(tmp_path / "events.db")
        yield made
        made.close_all()


class TestRedis(PuttingStoreContract):
    @pytest.fixture
    def processes(self, redis_server: RedisServer, tmp_path: Path) -> Iterator[RedisProcesses]:
        made = RedisProcesses(redis_server, tmp_path.name)
        yield made
        made.close_all()
