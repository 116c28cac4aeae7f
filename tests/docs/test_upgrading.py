"""docs/start/upgrade.md says what this version does: its programs run again, under this version."""

from __future__ import annotations

import importlib.util
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scripts.upgrade.run import run
from scripts.upgrade.suite import DIFFERENT
from scripts.upgrade.topics import TOPICS

from tests.docs.page import get_text

if TYPE_CHECKING:
    from scripts.upgrade.program import Program, Topic

PAGE = get_text("docs/start/upgrade.md")
HAS_DJANGO = importlib.util.find_spec("django") is not None


def get_answer(topic: Topic, program: Program) -> str:
    """Return what the page says of this version."""
    section = PAGE.split(f"## {topic.title}\n")[1].split("\n## ")[0]
    row, item = f"| {program.question} | ", f"- {program.question}: "
    for line in section.splitlines():
        if line.startswith(row):
            return line.removeprefix(row).split(" | ")[1]
        if line.startswith(item):
            return line.removeprefix(item)
    raise AssertionError(f"docs/start/upgrade.md does not have {program.question}")


def run_here(program: Program) -> str:
    path = os.environ.get("PYTHONPATH", "")
    return run(program, Path(sys.executable), path)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.title)
def test_the_page_says_what_each_program_does_under_this_version(topic: Topic) -> None:
    programs = [
        program
        for program in topic.programs
        if not program.timed and (HAS_DJANGO or not program.django)
    ]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(run_here, programs))
    said = {program.question: get_answer(topic, program) for program in programs}
    assert dict(zip(said, answers, strict=True)) == said


def test_every_program_with_a_time_is_on_the_page() -> None:
    timed = [(topic, program) for topic in TOPICS for program in topic.programs if program.timed]
    assert timed
    for topic, program in timed:
        assert get_answer(topic, program)


def test_every_test_that_differs_is_on_the_page_with_its_reason() -> None:
    for name, reason in DIFFERENT.items():
        assert f"| `{name}` | {reason} |" in PAGE
