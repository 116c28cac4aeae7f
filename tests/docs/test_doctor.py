"""docs/trouble/doctor.md holds: samples and fixes are the code's, commands are understood."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest

from tests.docs.page import ROOT, get_blocks, get_text
from whisperr._checkup.findings import Finding
from whisperr._checkup.hints import HINTS
from whisperr._cli.main import make_parser

PAGE = "docs/trouble/doctor.md"
TEXT = get_text(PAGE)


def get_section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def get_rows(section: str) -> list[list[str]]:
    """Return the cells of a table, without its head."""
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines[1:]]


def test_the_samples_and_the_fixes_are_those_of_the_code() -> None:
    command = [sys.executable, "scripts/doctor_page.py", "--check"]
    assert subprocess.run(command, cwd=ROOT, timeout=120, check=False).returncode == 0
    assert len(get_rows(get_section("Every fix"))) == len(HINTS)


def test_every_call_of_the_command_is_understood() -> None:
    lines = [line for text in get_blocks(PAGE, "console") for line in text.splitlines()]
    calls = [
        shlex.split(line.partition("whisperr ")[2]) for line in lines if "manage.py" not in line
    ]
    assert len(calls) == 3
    for call in calls:
        assert make_parser().parse_args(call).name == "doctor"
    assert "python manage.py whisperr_check" in lines


def test_the_page_says_what_each_check_tests() -> None:
    named = {name for row in get_rows(get_section("What it checks")) for name in row[0].split(", ")}
    samples = "\n".join(get_blocks(PAGE, "text"))
    printed = set(re.findall(r"^[✓!✗-] (.{17}) ", samples, re.MULTILINE))
    checks = {name.strip() for name in printed} - {"end of a process"}
    assert checks | {hint.check for hint in HINTS.values()} == named


def test_the_signs_and_the_keys_of_programs_are_named() -> None:
    signs = {row[0].strip("`"): row[-1] for row in get_rows(get_section("What it prints"))}
    assert signs == {"✓": "0", "!": "0", "✗": "1", "-": "0"}
    for name in (*Finding._fields, "ok", "doubtful", "wrong", "skipped", "findings"):
        assert f"`{name}`" in get_section("For programs")


@pytest.mark.parametrize("sample", ["well", "wrong"])
def test_a_sample_fits_in_a_terminal(sample: str) -> None:
    text = TEXT.partition(f"<!-- {sample}: ")[2].partition("```text\n")[2].partition("```")[0]
    assert text.startswith("$ whisperr doctor\n")
    assert max(map(len, text.splitlines())) <= 110
