"""Defines what a row of docs/about/reliability.md consists of."""

from __future__ import annotations

from typing import NamedTuple


class Scenario(NamedTuple):
    """One row: what happens, what is promised, and the tests (pytest node ids) that show it."""

    name: str
    promise: str
    tests: tuple[str, ...]
