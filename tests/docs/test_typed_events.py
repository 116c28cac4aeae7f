"""docs/start/typed-events.md holds: its modules run, and its lists are what the command prints."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import field
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from tests.docs.page import get_blocks, get_names, get_rows
from tests.docs.pasted import run_python
from whisperr import Event
from whisperr._typed_event import get_properties
from whisperr.dev import LocalServer
from whisperr.events import to_event_type

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "docs/start/typed-events.md"
MODULES = {block.split("\n")[0][2:]: block for block in get_blocks(PAGE, "python")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the modules of the page."""
    for name, text in MODULES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("name", ["app.py", "both.py", "more_events.py"])
def test_a_module_runs_and_what_it_sends_is_accepted(name: str, folder: Path) -> None:
    with LocalServer() as server:
        variables = {"WHISPERR_BASE_URL": server.url, "WHISPERR_API_KEY": "wrk_typed"}
        assert run_python(folder, name, **variables).stderr == ""
        arrivals = server.arrivals()
    assert not any(arrival.problems for arrival in arrivals)
    properties = [(arrival.type, arrival.body["properties"]) for arrival in arrivals]
    count = MODULES[name].count("whisperr.track(")
    assert properties == [("plan_upgraded", {"plan": "pro", "seats": 9})] * count


def test_two_of_the_three_wrong_calls_fail_at_run_time(folder: Path) -> None:
    """The third has a wrong value, which a strict client refuses; see tests/types."""
    names: dict[str, Any] = {}
    exec(MODULES["shop_events.py"], names)
    *_, missing, unknown, wrong = MODULES["wrong.py"].strip().split("\n")
    for call in (missing, unknown):
        with pytest.raises(TypeError):
            eval(call, names)
    assert eval(wrong, names).plan == "basic"


def test_the_list_is_what_the_command_prints(folder: Path) -> None:
    (shown,) = get_blocks(PAGE, "markdown")
    assert run_python(folder, "-m", "whisperr", "events", "shop_events").stdout == shown


def test_the_commands_succeed_in_their_order(folder: Path) -> None:
    for block in get_blocks(PAGE, "console"):
        for command in block.splitlines():
            run_python(folder, "-m", *command.split())
    assert {path.name for path in folder.iterdir()} > {"tracking-plan.md", "events.schema.json"}


def test_the_rules_of_the_class_hold() -> None:
    name, other, made, defaults, none, variable, abstract = get_rows(PAGE, "The class")
    for class_name, event_type in re.findall(r"`(\w+)` is `(\w+)`", name[1]):
        assert to_event_type(class_name) == event_type
    fields = [line for row in (defaults, variable) for line in get_names(row[1])]
    lines = [f"{get_names(row[1])[0]}: pass" for row in (other, abstract)]
    lines += ["class Seen(Event):", *[f"    {line}" for line in fields]]
    names: dict[str, Any] = {"Event": Event, "field": field, "ClassVar": ClassVar}
    exec(compile("\n".join(lines), PAGE, "exec", dont_inherit=True), names)
    assert names["Churned"].event_type == "account_closed"
    assert get_properties(names["Seen"]()) == {"source": "web", "tags": []}
    with pytest.raises(TypeError, match="ShopEvent is abstract"):
        names["ShopEvent"]()
    exec(MODULES["shop_events.py"], names)
    for row in (made, none):
        assert "coupon" not in get_properties(eval(get_names(row[1])[0], names))


def test_the_option_of_ruff_keeps_the_imports_of_a_class(folder: Path) -> None:
    pytest.importorskip("ruff")
    (settings,) = get_blocks(PAGE, "toml")
    text = MODULES["more_events.py"].replace(
        "from datetime", "from __future__ import annotations\n\nfrom datetime", 1
    )
    (folder / "more_events.py").write_text(text, encoding="utf-8")
    found = []
    for config in ("", settings):
        (folder / "pyproject.toml").write_text(config, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "TC"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        found.append(done.stdout.count("TC003"))
    assert found == [2, 0]
