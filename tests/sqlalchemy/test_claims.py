"""The claims of relays over SQLAlchemy: the contracts of all claims and of all stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("sqlalchemy")

from tests.queue.claims_contract import ClaimsContract
from tests.queue.store_contract import StoreContract
from tests.sqlalchemy.databases import Relays

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sqlalchemy.databases import SQLDatabase


class TestClaims(ClaimsContract):
    @pytest.fixture
    def outbox(self, database: SQLDatabase) -> SQLDatabase:  # the fixture of this folder is a sink
        return database


class TestStore(StoreContract):
    @pytest.fixture
    def processes(self, database: SQLDatabase) -> Iterator[Relays]:
        relays = Relays(database)
        yield relays
        relays.close_all()
