"""`whisperr events`: the tracking plan of a package, from the classes of its events."""

from __future__ import annotations

import json
import sys
from itertools import count
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest

from tests.docs.pasted import run_python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .conftest import Call

    Write = Callable[..., str]

_numbers = count()
UPGRADED = '''
from dataclasses import dataclass, field
from typing import Literal

from whisperr import Event

@dataclass
class Seats:
    """Seats of a plan."""

    before: int
    after: int

class Shared(Event, abstract=True):
    """What the events of the shop share.

    Attributes:
        source: Where it happens: "web" | "app".
    """

    source: str = "web"

class PlanUpgraded(Shared):
    """A user moves to a larger plan.

    It is sent after the payment.

    Attributes:
        plan: The new plan.
        seats (Seats): How many seats the user had,
            and has.
        event_type: No field.
    """

    plan: Literal["free", "pro"]
    seats: Seats
    coupon: str | None = None
    tags: list[str] = field(default_factory=list)
'''
DELETED = """
import whisperr

class AccountDeleted(whisperr.Event):
    pass
"""
MARKDOWN = """\
# Events

<!-- Written by `whisperr events`; do not edit. -->

## `account_deleted`

Class: `{name}.accounts.AccountDeleted`

This event has no properties.

## `plan_upgraded`

A user moves to a larger plan.

It is sent after the payment.

Class: `{name}.plans.PlanUpgraded`

| property | type | required | default | description |
|---|---|---|---|---|
| `source` | string | no | `"web"` | Where it happens: "web" \\| "app". |
| `plan` | `"free"`, `"pro"` | yes |  | The new plan. |
| `seats` | [Seats](#seats) | yes |  | How many seats the user had, and has. |
| `coupon` | string | no |  |  |
| `tags` | array of string | no |  |  |

## Objects

### `Seats`

Seats of a plan.

| property | type | required | default | description |
|---|---|---|---|---|
| `before` | integer | yes |  |  |
| `after` | integer | yes |  |  |
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Return a function that writes a package with these modules, and returns its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WHISPERR_API_KEY", raising=False)

    def write(**modules: str) -> str:
        name = f"shop{next(_numbers)}"
        for module, text in {"__init__": "", **modules}.items():
            path = tmp_path.joinpath(name, *f"{module}.py".split("/"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text), encoding="utf-8")
        return name

    yield write
    for name in [one for one in sys.modules if one.startswith("shop")]:
        del sys.modules[name]


class TestMarkdown:
    def test_a_package_is_listed_with_all_its_modules(self, write: Write, call: Call) -> None:
        name = write(plans=UPGRADED, accounts=DELETED)
        assert call("events", name) == (0, MARKDOWN.format(name=name), "")

    def test_other_values_of_a_type_are_named(self, write: Write, call: Call) -> None:
        text = """
        from __future__ import annotations
        from datetime import datetime
        from typing import Any, Literal, TypedDict
        from whisperr import Event

        class Seen(Event):
            at: datetime
            one: int | str | None = None
            two: tuple[int, str] | None = None
            three: dict[Literal["a"], list[bool | None]] | None = None
            four: Any = None
            five: nothing | None = None

        class nothing(TypedDict):
            pass
        """
        listed = call("events", write(seen=text)).out
        rows = [line.split(" | ")[1] for line in listed.splitlines() if line.startswith("| `")]
        assert rows == [
            "string (date-time)",
            "integer or string",
            "array of integer, string",
            'object of array of boolean or null by `"a"`',
            "any",
            "[nothing](#nothing)",
        ]
        assert listed.endswith("\n### `nothing`\n\nType: object\n")

    def test_a_class_with_the_name_of_an_event_type_is_another_definition(
        self, write: Write, call: Call
    ) -> None:
        text = """
        from typing import TypedDict
        from whisperr import Event

        class seen(TypedDict):
            page: str

        class Seen(Event):
            what: seen
        """
        name = write(events=text)
        defined = json.loads(call("events", name, "--format", "json-schema").out)["$defs"]
        assert list(defined) == ["seen", f"{name}.events.seen"]


class TestJsonSchema:
    def test_it_validates_the_events_as_they_are_sent(self, write: Write, call: Call) -> None:
        jsonschema = pytest.importorskip("jsonschema")
        name = write(plans=UPGRADED, accounts=DELETED)
        document = json.loads(call("events", name, "--format", "json-schema").out)
        jsonschema.Draft202012Validator.check_schema(document)
        validator = jsonschema.Draft202012Validator(document)
        plans = sys.modules[f"{name}.plans"]
        seats = plans.Seats(3, 9)
        assert validator.is_valid(send(plans.PlanUpgraded(plan="pro", seats=seats)))
        assert validator.is_valid(send(plans.PlanUpgraded(plan="pro", seats=seats, coupon="A")))
        assert validator.is_valid(send(sys.modules[f"{name}.accounts"].AccountDeleted()))
        for wrong in (
            plans.PlanUpgraded(plan="basic", seats=seats),
            plans.PlanUpgraded(plan="pro", seats=9),
            plans.PlanUpgraded(plan=None, seats=seats),
        ):
            assert not validator.is_valid(send(wrong))
        assert not validator.is_valid(send("plan_upgraded", {"plan": "pro", "size": 1}))
        assert not validator.is_valid(send("plan_downgraded", {"plan": "pro"}))

    def test_an_event_is_a_definition_with_what_its_class_says(
        self, write: Write, call: Call
    ) -> None:
        document = json.loads(call("events", write(plans=UPGRADED), "--format", "json-schema").out)
        assert list(document["$defs"]) == ["plan_upgraded", "Seats"]
        event = document["$defs"]["plan_upgraded"]
        assert event["title"] == "PlanUpgraded"
        assert event["description"] == (
            "A user moves to a larger plan.\n\nIt is sent after the payment."
        )
        properties = event["properties"]["properties"]
        assert properties["required"] == ["plan", "seats"]
        assert properties["additionalProperties"] is False
        assert properties["properties"]["source"]["default"] == "web"
        assert properties["properties"]["coupon"] == {"type": "string"}


def send(*given: Any) -> Any:
    """Return an event as it is on the wire."""
    from whisperr._events.event import EventEncoder

    return json.loads(EventEncoder("1").encode("ada", *given)[1])


class TestWhatIsImported:
    def test_modules_files_and_folders_can_be_named(self, write: Write, call: Call) -> None:
        name = write(**{"plans": UPGRADED, "deep/__init__": "", "deep/accounts": DELETED})
        for target in (
            f"{name}.deep",
            f"{name}/deep/accounts.py",
            f"{name}/deep/",
            f"./{name}/deep",
        ):
            assert get_events(call("events", target).out) == ["account_deleted"]
        both = call("events", f"{name}.plans", f"{name}.deep.accounts").out
        assert get_events(both) == ["account_deleted", "plan_upgraded"]

    def test_a_folder_without_init_is_part_of_its_package(self, write: Write, call: Call) -> None:
        name = write(**{"plans": UPGRADED, "deep/accounts": DELETED, "data/readme": ""})
        assert get_events(call("events", name).out) == ["account_deleted", "plan_upgraded"]

    def test_a_link_to_a_folder_around_it_is_not_followed(
        self, write: Write, call: Call, tmp_path: Path
    ) -> None:
        name = write(**{"plans": UPGRADED, "deep/accounts": DELETED})
        try:
            (tmp_path / name / "deep" / "up").symlink_to(tmp_path / name, target_is_directory=True)
        except OSError:
            pytest.skip("this user may not create links")
        assert get_events(call("events", name).out) == ["account_deleted", "plan_upgraded"]

    def test_the_folder_of_a_package_may_be_the_current_one(
        self, write: Write, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = write(**{"plans": UPGRADED, "deep/__init__": "", "deep/accounts": DELETED})
        monkeypatch.chdir(tmp_path / name / "deep")
        assert get_events(call("events", ".").out) == ["account_deleted"]
        assert get_events(call("events", "..").out) == ["account_deleted", "plan_upgraded"]

    def test_targets_are_found_although_a_module_changes_the_folder(
        self, write: Write, call: Call
    ) -> None:
        name = write(plans=UPGRADED, accounts=f"import os\nos.chdir(os.sep)\n{DELETED}")
        listed = call("events", f"{name}/accounts.py", f"{name}/plans.py").out
        assert get_events(listed) == ["account_deleted", "plan_upgraded"]

    def test_a_class_of_an_import_that_failed_is_not_listed_again(
        self, write: Write, call: Call
    ) -> None:
        name = write(a="from . import b\nx = 1", b=f"{DELETED}\nfrom .a import x")
        ended = call("events", name)
        assert f"{name}.a cannot be imported: ImportError: cannot import name 'x'" in ended.err
        assert get_events(ended.out) == ["account_deleted"]

    def test_a_package_that_imports_events_of_another_does_not_define_them(
        self, write: Write, call: Call
    ) -> None:
        other = write(plans=UPGRADED)
        name = write(accounts=f"from {other}.plans import *\n{DELETED}")
        assert get_events(call("events", name).out) == ["account_deleted"]

    @pytest.mark.parametrize(
        "module", ["__main__", "tests/__init__", "test/__init__", "test_plans", "conftest"]
    )
    def test_programs_and_tests_are_not_imported(
        self, write: Write, call: Call, module: str
    ) -> None:
        name = write(**{"accounts": DELETED, module: "raise SystemExit('imported')"})
        ended = call("events", name)
        assert (ended.code, ended.err) == (0, "")

    def test_a_client_needs_no_key_and_what_is_printed_is_not_in_the_list(
        self, write: Write, call: Call
    ) -> None:
        text = "import whisperr\nprint('hello')\nassert not whisperr.Whisperr().enabled\n"
        ended = call("events", write(accounts=text + DELETED))
        assert (ended.code, ended.err) == (0, "hello\n")
        assert ended.out.startswith("# Events\n")

    def test_a_module_that_fails_is_named_and_the_others_are_listed(
        self, write: Write, call: Call
    ) -> None:
        name = write(
            accounts=DELETED,
            broken="import json\njson.loads('')",
            ended="raise SystemExit(3)",
            plans=UPGRADED,
        )
        ended = call("events", name)
        assert ended.code == 1
        assert get_events(ended.out) == ["account_deleted", "plan_upgraded"]
        assert f"{name}.broken cannot be imported: JSONDecodeError: Expecting value" in ended.err
        assert "broken.py:2)\n" in ended.err
        assert f"{name}.ended cannot be imported: SystemExit: 3 (" in ended.err
        assert ended.err.endswith("whisperr events: 2 problems, so the list is incomplete\n")

    def test_annotations_that_cannot_be_read_are_a_problem_of_their_class(
        self, write: Write, call: Call
    ) -> None:
        text = """
        from __future__ import annotations
        from typing import TYPE_CHECKING
        from whisperr import Event

        if TYPE_CHECKING:
            from decimal import Decimal

        class Paid(Event):
            amount: Decimal
        """
        name = write(accounts=DELETED, paid=text)
        ended = call("events", name)
        assert ended.code == 1
        assert get_events(ended.out) == ["account_deleted"]
        assert (
            f"{name}.paid.Paid cannot be described: Paid: its annotations cannot be read "
            "(NameError: name 'Decimal' is not defined); import the names that they use in the "
            "module of the class\n"
        ) in ended.err


class TestErrors:
    def test_two_classes_with_one_event_type_are_both_named(self, write: Write, call: Call) -> None:
        name = write(accounts=DELETED, users=DELETED)
        ended = call("events", name)
        assert (ended.code, ended.out) == (1, "")
        assert (
            f"two classes have the event type account_deleted: {name}.accounts.AccountDeleted and "
            f"{name}.users.AccountDeleted"
        ) in ended.err

    @pytest.mark.parametrize(
        ("target", "code", "message"),
        [
            ("nowhere", 2, "there is no module nowhere; run this in the folder of your project"),
            ("nowhere/plans.py", 2, "nowhere/plans.py does not exist"),
            (".", 2, "'.' is no package; name a package or a module of this folder, such as shop"),
            ("", 2, "'' is no name of a module"),
            ("./", 2, "'./' is no package; name a package or a module of this folder"),
            ("whisperr.errors", 1, "no events: whisperr.errors has no class that is derived from"),
        ],
    )
    def test_a_target_without_events_is_an_error(
        self, write: Write, call: Call, target: str, code: int, message: str
    ) -> None:
        ended = call("events", target)
        assert (ended.code, ended.out) == (code, "")
        assert ended.err.startswith(f"whisperr events: {message}")

    def test_a_file_whose_name_is_taken_is_refused(
        self, write: Write, call: Call, tmp_path: Path
    ) -> None:
        (tmp_path / "json.py").write_text(DELETED, encoding="utf-8")
        ended = call("events", "json.py")
        assert ended.code == 2
        assert "json.py cannot be imported: another module is called json" in ended.err


class TestFiles:
    def test_a_file_is_written_in_the_format_of_its_name(
        self, write: Write, call: Call, tmp_path: Path
    ) -> None:
        name = write(plans=UPGRADED)
        assert call("events", name, "--output", "events.md") == (0, "", "events.md: 1 event\n")
        assert (tmp_path / "events.md").read_text(encoding="utf-8").startswith("# Events\n")
        assert call("events", name, "--output", "events.json").code == 0
        document = json.loads((tmp_path / "events.json").read_text(encoding="utf-8"))
        assert "plan_upgraded" in document["$defs"]
        assert call("events", name, "--output", "e.json", "--format", "markdown").code == 0
        assert (tmp_path / "e.json").read_text(encoding="utf-8").startswith("# Events\n")

    def test_check_succeeds_while_the_file_is_that_of_the_code(
        self, write: Write, call: Call, tmp_path: Path
    ) -> None:
        name = write(plans=UPGRADED)
        for file in ("events.md", "events.json"):
            assert call("events", name, "--output", file).code == 0
            assert call("events", name, "--check", file) == (0, "", "")

    def test_check_shows_what_has_changed(self, write: Write, call: Call, tmp_path: Path) -> None:
        name = write(plans=UPGRADED)
        call("events", name, "--output", "events.md")
        file = tmp_path / "events.md"
        before = file.read_text(encoding="utf-8").replace('`"pro"`', '`"team"`')
        file.write_text(before, encoding="utf-8")
        ended = call("events", name, "--check", "events.md")
        assert ended.code == 1
        assert '\n-| `plan` | `"free"`, `"team"` | yes |  | The new plan. |\n' in ended.out
        assert '\n+| `plan` | `"free"`, `"pro"` | yes |  | The new plan. |\n' in ended.out
        assert ended.err == (
            "whisperr events: events.md differs from the code; write it with --output events.md\n"
        )
        assert file.read_text(encoding="utf-8") == before

    def test_check_of_a_file_that_does_not_exist_says_how_to_write_it(
        self, write: Write, call: Call
    ) -> None:
        ended = call("events", write(plans=UPGRADED), "--check", "events.md")
        assert ended.code == 1
        assert "events.md does not exist; write it with --output events.md" in ended.err

    def test_an_incomplete_list_is_neither_written_nor_compared(
        self, write: Write, call: Call, tmp_path: Path
    ) -> None:
        name = write(plans=UPGRADED, broken="1 / 0")
        for option in ("--output", "--check"):
            ended = call("events", name, option, "events.md")
            assert (ended.code, ended.out) == (1, "")
            assert "1 problem, so events.md was not touched" in ended.err
        assert not (tmp_path / "events.md").exists()

    def test_output_and_check_exclude_each_other(self, write: Write, call: Call) -> None:
        assert call("events", "shop", "--output", "a", "--check", "b").code == 2


def test_what_a_module_does_with_the_process_is_not_in_the_list(
    write: Write, tmp_path: Path
) -> None:
    text = "import os, sys\nos.write(1, b'one')\nsys.__stdout__.write('two')\nos.chdir('/')\n"
    name = write(accounts=DELETED + text)
    done = run_python(tmp_path, "-m", "whisperr", "events", name)
    assert done.stdout.startswith("# Events\n")
    assert sorted(done.stderr) == sorted("onetwo")
    run_python(tmp_path, "-m", "whisperr", "events", name, "--output", "events.md")
    assert (tmp_path / "events.md").read_text(encoding="utf-8") == done.stdout


def test_what_a_module_leaves_running_neither_prints_into_the_list_nor_keeps_the_command(
    write: Write, tmp_path: Path
) -> None:
    text = """
    import atexit
    import threading

    atexit.register(print, "the end")
    threading.Thread(target=threading.Event().wait).start()
    """
    name = write(accounts=DELETED + dedent(text))
    done = run_python(tmp_path, "-m", "whisperr", "events", name)
    assert get_events(done.stdout) == ["account_deleted"]
    assert "the end" not in done.stdout + done.stderr


def test_it_runs_as_a_program_and_leaves_the_process_as_it_was(
    write: Write, call: Call, tmp_path: Path
) -> None:
    name = write(accounts=DELETED)
    path = sys.path[:]
    listed = call("events", name).out
    assert sys.path == path
    assert run_python(tmp_path, "-m", "whisperr", "events", name).stdout == listed


def get_events(text: str) -> list[str]:
    """Return the event types that a Markdown list has."""
    return [line[4:-1] for line in text.splitlines() if line.startswith("## `")]
