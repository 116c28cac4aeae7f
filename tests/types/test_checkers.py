"""mypy and pyright check the calls of typed events, as docs/start/typed-events.md shows.

Each checker runs once, over one folder, for all tests.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import whisperr
from tests.docs.page import get_blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCE = Path(whisperr.__file__).parents[1]
PAGE = "docs/start/typed-events.md"
MODULES = {block.split("\n")[0][2:]: block for block in get_blocks(PAGE, "python")}
LIMIT = 300  # seconds; far more than a run takes
EVENTS = """\
from __future__ import annotations

from dataclasses import field, replace
from typing import ClassVar, Generic, Literal, TypeVar

from whisperr import Event, Whisperr
from whisperr.billing import MembershipEnded
from whisperr.testing import Events

T = TypeVar("T")

class Shared(Event, abstract=True):
    source: str = "web"

class PlanUpgraded(Shared):
    plan: Literal["free", "pro", "team"]
    seats: int
    coupon: str | None = None
    tags: list[str] = field(default_factory=list[str])
    version: ClassVar[int] = 2

class Changed(Event, Generic[T], abstract=True):
    before: T
    after: T

class SeatsChanged(Changed[int], event_type="seat_count_changed"):
    size: int = field(metadata={"unit": "seats"})

event = PlanUpgraded(plan="pro", seats=9)

def use(client: Whisperr, events: Events) -> None:
"""
# Lines that are right.
RIGHT = (
    "client.track('ada', event)",
    "client.track('ada', PlanUpgraded(plan='team', seats=9, coupon='A', tags=['a'], source='app'))",
    "client.track('ada', SeatsChanged(before=1, after=2, size=1))",
    "client.track('ada', MembershipEnded(end_reason='billing', price=9.99))",
    "client.track('ada', 'plan_upgraded', {'plan': 'pro'})",
    "events.assert_tracked(event)",
    "events.assert_tracked(PlanUpgraded)",
    "events.one(SeatsChanged)",
    "PlanUpgraded.event_type.upper()",
    "PlanUpgraded.version.bit_length()",
    "event.tags.append(event.plan)",
    "replace(event, seats=10).seats.bit_length()",
    "SeatsChanged(before=1, after=2, size=1).after.bit_length()",
)
# Lines that are wrong, with the codes of mypy and the rules of pyright.
WRONG: tuple[tuple[str, str, str], ...] = (
    ("PlanUpgraded(plan='pro')", "call-arg", "reportCallIssue"),
    ("PlanUpgraded(plan='pro', seats=9, seat=1)", "call-arg", "reportCallIssue"),
    ("PlanUpgraded(plan='basic', seats=9)", "arg-type", "reportArgumentType"),
    ("PlanUpgraded(plan='pro', seats=9, version=3)", "call-arg", "reportCallIssue"),
    ("SeatsChanged(before='a', after=2, size=1)", "arg-type", "reportArgumentType"),
    ("SeatsChanged(before=1, after=2)", "call-arg", "reportCallIssue"),
    ("MembershipEnded(end_reason='bored')", "arg-type", "reportArgumentType"),
    ("event.seats = 10", "misc", "reportAttributeAccessIssue"),
    ("client.track('ada', PlanUpgraded)", "arg-type", "reportArgumentType"),
)
LINES = [*RIGHT, *(line for line, _, _ in WRONG)]
REVEALED = {
    "event": "PlanUpgraded",
    "event.plan": "Literal['free', 'pro', 'team']",
    "event.tags": "list[str]",
    "SeatsChanged(before=1, after=2, size=1).before": "int",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("types")
    for name, text in MODULES.items():
        (folder / name).write_text(text, encoding="utf-8")
    body = "".join(f"    {line}\n" for line in LINES)
    body += "".join(f"    reveal_type({value})\n" for value in REVEALED)
    (folder / "cases.py").write_text(EVENTS + body, encoding="utf-8")
    return folder


def run(folder: Path, arguments: Sequence[str]) -> str:
    """Run a checker, and return what it printed."""
    scripts = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    # CI services ask for colours, which are part of the text.
    environment = {name: value for name, value in os.environ.items() if "FORCE_COLOR" not in name}
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env={**environment, "MYPYPATH": str(SOURCE), "PATH": scripts},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr  # it found mistakes
    return done.stdout


@pytest.fixture(scope="module")
def mypy(folder: Path) -> str:
    pytest.importorskip("mypy")
    options = ("--strict", "--follow-imports=silent", "--config-file=", "--cache-dir=cache")
    return run(
        folder,
        (
            "mypy",
            *options,
            "--no-error-summary",
            ".",
        ),
    )


@pytest.fixture(scope="module")
def pyright(folder: Path) -> list[tuple[str, int, str, str]]:
    """Return the file, the line, the rule and the text of each message."""
    if find_spec("pyright") is None:
        pytest.skip("pyright is not installed")
    config = {"extraPaths": [str(SOURCE)], "typeCheckingMode": "strict", "pythonVersion": "3.10"}
    (folder / "pyrightconfig.json").write_text(json.dumps(config), encoding="utf-8")
    found = json.loads(run(folder, ("pyright", "--outputjson")))["generalDiagnostics"]
    return [
        (
            Path(one["file"]).name,
            one["range"]["start"]["line"] + 1,
            one.get("rule", ""),
            one["message"].replace("\u00a0", " "),
        )
        for one in found
    ]


FIRST = EVENTS.count("\n") + 1  # the line of the first case


class TestMypy:
    def test_each_wrong_call_is_an_error_and_no_right_one(self, mypy: str) -> None:
        found = re.findall(r"^cases\.py:(\d+): error: .*\[([\w-]+)\]$", mypy, re.MULTILINE)
        first = FIRST + len(RIGHT)
        assert [(int(line), code) for line, code in found] == [
            (number, code) for number, (_, code, _) in enumerate(WRONG, first)
        ]

    def test_an_event_and_its_fields_have_the_types_of_the_class(self, mypy: str) -> None:
        found = re.findall(r'^cases\.py:\d+: note: Revealed type is "(.+)"$', mypy, re.MULTILINE)
        union = "Literal['free'] | Literal['pro'] | Literal['team']"
        shown = [
            text.replace("cases.", "").replace(union, REVEALED["event.plan"]) for text in found
        ]
        assert shown == list(REVEALED.values())

    def test_the_page_shows_what_it_says(self, mypy: str) -> None:
        (shown,) = get_blocks(PAGE, "text")
        lines = [line for line in mypy.splitlines() if not line.startswith("cases.py")]
        assert "\n".join(lines) + "\n" == shown


class TestPyright:
    def test_each_wrong_call_is_an_error_and_no_right_one(
        self, pyright: list[tuple[str, int, str, str]]
    ) -> None:
        errors = [
            (line, rule)
            for file, line, rule, _ in pyright
            if (file, bool(rule)) == ("cases.py", True)
        ]
        first = FIRST + len(RIGHT)
        assert errors == [(number, rule) for number, (_, _, rule) in enumerate(WRONG, first)]

    def test_an_event_and_its_fields_have_the_types_of_the_class(
        self, pyright: list[tuple[str, int, str, str]]
    ) -> None:
        assert [text for file, _, rule, text in pyright if file == "cases.py" and not rule] == [
            f'Type of "{value}" is "{kind}"' for value, kind in REVEALED.items()
        ]

    def test_the_calls_of_the_page_are_errors_and_its_other_modules_have_none(
        self, pyright: list[tuple[str, int, str, str]]
    ) -> None:
        errors = [(file, line, text) for file, line, _, text in pyright if file != "cases.py"]
        assert [(file, line) for file, line, _ in errors] == [("wrong.py", n) for n in (4, 5, 6)]
        missing, unknown, wrong = [text for _, _, text in errors]
        assert missing == 'Argument missing for parameter "seats"'
        assert unknown == 'No parameter named "cupon"'
        assert wrong.startswith("""Argument of type "Literal['basic']" cannot be assigned""")
