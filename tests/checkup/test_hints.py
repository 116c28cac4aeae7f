"""Every trouble has its hint, and every hint a trouble that is found."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import whisperr
from whisperr._checkup.findings import find
from whisperr._checkup.hints import HINTS

PACKAGE = Path(whisperr.__file__).parent
FILES = [*(PACKAGE / "_checkup").glob("*.py"), PACKAGE / "django" / "outbox" / "checkup.py"]


def get_strings() -> set[str]:
    """Return the strings in the code that finds something."""
    trees = [ast.parse(one.read_text("utf-8")) for one in FILES if one.name != "hints.py"]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return {str(node.value) for node in nodes if isinstance(node, ast.Constant)}


def test_every_hint_is_of_a_trouble_that_some_check_finds() -> None:
    assert set(HINTS) - get_strings() == set()


@pytest.mark.parametrize("code", HINTS)
def test_a_hint_says_in_one_line_when_it_is_given_and_what_to_do(code: str) -> None:
    hint = HINTS[code]
    gaps = dict.fromkeys(re.findall(r"\{(\w+)\}", hint.fix), "x")
    finding = find(code, "text", **gaps)
    assert finding == (hint.check, hint.state, "text", hint.fix.format(**gaps))
    assert hint.state in ("wrong", "doubtful")
    assert hint.fix.isprintable()
    assert hint.when.isprintable()
    assert len(hint.fix) <= 110, "longer than a line of a terminal"
    assert not hint.fix.endswith(".")
