"""The README holds: its code runs, its table is the one of the code, its names exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.docs.page import ROOT, blocks, text_of
from whisperr import Whisperr
from whisperr._cli.main import make_parser
from whisperr._delivery.accounting import _DROPPED, _NEVER_ACCEPTED
from whisperr._options import OPTIONS
from whisperr.dev import LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator

README = text_of("README.md")
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]
PAGES += [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    with LocalServer() as started:
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_readme")
        monkeypatch.setenv("WHISPERR_BASE_URL", started.url)
        yield started


def test_every_block_of_python_runs_in_order(
    server: LocalServer, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {"__name__": "readme", "save": list}
    clients: list[Whisperr] = []
    for number, text in enumerate(blocks("README.md", "python")):
        exec(compile(text, f"README.md, block {number + 1}", "exec"), names)
        if not clients:  # the quick start shuts its client down; what follows uses another one
            names["whisperr"].shutdown()
            names["whisperr"] = Whisperr()
        # Blocks put clients in the place of earlier ones, which PyPy would collect much later.
        made = [names[name] for name in ("whisperr", "strict") if name in names]
        clients += [one for one in made if one not in clients]
    names["handler"]({"user": "user_8842"}, None)
    assert len(clients) == 3
    for one in clients:
        assert one.shutdown() is True
    refused = "external_user_id: must be a string or have a string form, got None\n"
    assert capsys.readouterr().out == refused
    assert [a.problems for a in server.arrivals(status="refused")] == []
    sent = {arrival.type for arrival in server.arrivals(kind="event")}
    assert {"payment_failed", "seat_removed", "membership_ended", "report_failed"} <= sent
    assert len(server.arrivals(kind="identify")) == 2


def test_the_options_table_is_the_one_of_the_code() -> None:
    command = [sys.executable, "scripts/options_table.py", "--check"]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == 0
    assert README.count("| `api_key` |") == 1
    assert all(f"| `{option.name}` |" in README for option in OPTIONS)


def test_the_table_of_losses_has_every_reason_that_is_reported() -> None:
    listed = set(re.findall(r"^\| `dropped` \| `(\w+)`", README, re.MULTILINE))
    assert listed == {*_DROPPED, *_NEVER_ACCEPTED} - {"vetoed"}  # the caller's own wish


def test_every_call_of_the_command_is_understood() -> None:
    lines = [line for text in blocks("README.md", "console") for line in text.splitlines()]
    calls = [shlex.split(line, comments=True) for line in lines if line.startswith("whisperr ")]
    assert len(calls) >= 4
    for call in calls:
        make_parser().parse_args(call[1:])
    for option in re.findall(r"--[a-z][a-z-]+", README):
        assert option in _parser_help()


def _parser_help() -> str:
    commands = next(a for a in make_parser()._actions if a.choices is not None)
    choices: Any = commands.choices
    return "".join(parser.format_help() for parser in choices.values())


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(
        re.findall(r"\bmake ([a-z-]+)", "\n".join(blocks("README.md", "console")) + contributing)
    )
    assert {"demo", "test", "check"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_map_of_the_modules_is_complete() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    source = ROOT / "src" / "whisperr"
    rows = re.findall(r"^\| (`.+?) \| .+ \| (.*)\|$", contributing, re.MULTILINE)
    named: set[str] = set()
    for places, modules in rows:
        for place in re.findall(r"`([\w/.]+)`", places):
            named |= {place} if place.endswith(".py") else set()
            if place.endswith("/"):
                named |= {f"{place}{module}.py" for module in re.findall(r"`(\w+)`", modules)}
    there = {path.relative_to(source).as_posix() for path in source.rglob("*.py")}
    there = {name for name in there if not name.endswith(("__init__.py", "_version.py"))}
    there -= {name for name in there if "/management/" in name or "/migrations/" in name}
    assert named == there


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    text = text_of(page)
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / page).parent / target).exists(), target
    headings = [
        re.sub(r"[^\w -]", "", h).strip() for h in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    ]
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


def test_the_figures_of_the_retry_policy_are_those_of_the_code() -> None:
    from whisperr._delivery.backoff import backoff, get_pause, parse_retry_after

    assert "0.5 to 1, 1 to 2, 2 to 4 … up to 30 seconds" in README
    ends = [(backoff(n, lambda: 0.0), backoff(n, lambda: 1.0)) for n in (1, 2, 3)]
    assert ends == [(0.5, 1.0), (1.0, 2.0), (2.0, 4.0)]
    assert backoff(50, lambda: 1.0) == 30.0
    assert parse_retry_after("900", 0.0) == 60.0
    ends_of_dice = (lambda: 0.0, lambda: 1.0)
    assert "30 to 60 seconds, or 60 to 120 for a refused key" in README
    assert [get_pause("retry_exhausted", random) for random in ends_of_dice] == [30.0, 60.0]
    assert [get_pause("auth", random) for random in ends_of_dice] == [60.0, 120.0]
