"""Runs every program under both packages."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.upgrade.run import run
from scripts.upgrade.topics import TOPICS

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.upgrade.program import Program

# The programs wait more than they compute.
_AT_ONCE = 4


@dataclass(frozen=True)
class Compared:
    """One program with both answers."""

    program: Program
    published: str
    current: str

    @property
    def same(self) -> bool:
        """Whether both packages answer the same."""
        return self.published == self.current


def compare(published: Path, current: Path) -> dict[str, list[Compared]]:
    """Return the comparisons of each topic, by its title."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        running = {
            topic.title: [
                (program, pool.submit(run, program, published), pool.submit(run, program, current))
                for program in topic.programs
            ]
            for topic in TOPICS
        }
        return {
            title: [Compared(p, first.result(), second.result()) for p, first, second in rows]
            for title, rows in running.items()
        }
