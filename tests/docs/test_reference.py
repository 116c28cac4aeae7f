"""The reference is complete: every public name has an entry, a docstring, and its first version."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from scripts.public_api import (
    ROOT,
    SNAPSHOT,
    Name,
    check_entries,
    get_aliases,
    get_api,
    get_documented,
    to_lines,
)

from tests.docs.page import get_names, get_rows, get_text
from tests.docs.site import Built, site
from whisperr._delivery.accounting import DROPPED, NEVER_ACCEPTED
from whisperr._delivery.backoff import get_pause

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["site"]

API = get_api()
ERRORS = "docs/reference/errors.md"
REASONS = get_rows(ERRORS, "Errors and reasons")
# What a docstring cannot have: an installed user has neither the README nor the pages.
ELSEWHERE = re.compile(r"README|docs/")
# Where a class is defined: Sphinx knows it by that name as well.
PRIVATE = re.compile(r"\._[a-z]|whisperr\.django\.[a-z]+\.")
CALLABLE = [name for name in API.values() if name.kind in {"def", "async def"}]
CLASSES = [name for name in API.values() if isinstance(name.node, ast.ClassDef)]
# The package makes these, and no user does: their arguments are no promise.
MADE_BY_THE_PACKAGE = {
    "whisperr.aiohttp.RequestTracker",
    "whisperr.asgi.RequestTracker",
    "whisperr.django.RequestTracker",
    "whisperr.django.WhisperrMiddleware",
    "whisperr.testing.Events",
    "whisperr.testing.SentRequest",
    "whisperr.wsgi.UserTracker",
}


def get_literals(name: str) -> set[str]:
    """Return the values of a Literal of `whisperr.errors`, which exists for type checkers only."""
    (shown,) = API[f"whisperr.errors.{name}"].signatures
    return set(re.findall(r"'(\w+)'", shown))


def get_parameters(name: Name) -> list[str]:
    """Return the parameters of a callable, as its docstring names them."""
    tree = ast.parse("\n".join(f"def f{s.partition(' -> ')[0]}: ..." for s in name.signatures))
    given = [one.args for one in tree.body if isinstance(one, ast.FunctionDef)]
    every = [arg for one in given for arg in (*one.posonlyargs, *one.args, *one.kwonlyargs)]
    every += [arg for one in given for arg in (one.vararg, one.kwarg) if arg is not None]
    return list(dict.fromkeys(arg.arg for arg in every))


class TestSnapshot:
    def test_the_file_has_the_names_and_signatures_of_the_code(self) -> None:
        lines = SNAPSHOT.read_text(encoding="utf-8").splitlines()
        assert lines == to_lines(API.values(), get_aliases()), (
            "the public API has changed: is it meant? then run "
            "`python -m scripts.public_api --write`, and add a line to CHANGELOG.md"
        )

    def test_a_default_is_the_value_and_not_the_name_of_a_constant(self) -> None:
        assert API["whisperr.Whisperr.shutdown"].signatures == (
            "(timeout: float | None=10.0) -> bool",
        )

    def test_a_name_that_two_modules_export_is_described_once(self) -> None:
        aliases = get_aliases()
        assert aliases["whisperr.WhisperrError"] == "whisperr.errors.WhisperrError"
        assert aliases["whisperr.fastapi.RequestTracker"] == "whisperr.asgi.RequestTracker"
        assert set(aliases.values()) <= set(API)
        assert not set(aliases) & set(API)


class TestDocstrings:
    def test_every_name_has_one(self) -> None:
        described = {
            f"{name.path}.{one}" for name in CLASSES for one in get_documented(name.docstring)
        }
        without = [
            path
            for path, name in API.items()
            if not name.docstring and path not in described and name.kind not in {"data", "type"}
        ]
        assert without == []

    def test_every_name_says_since_when_it_exists(self) -> None:
        assert [path for path, name in API.items() if name.since is None] == []

    def test_none_sends_a_reader_to_a_file_that_is_not_installed(self) -> None:
        assert [path for path, name in API.items() if ELSEWHERE.search(name.docstring)] == []

    @pytest.mark.parametrize("name", CALLABLE, ids=lambda name: name.path)
    def test_a_function_describes_its_parameters(self, name: Name) -> None:
        parameters = get_parameters(name)
        parent = API.get(name.parent)
        described = {*get_documented(name.docstring), *re.findall(r"`(\w+)`", name.docstring)}
        described |= set(get_documented(parent.docstring)) if parent else set()
        assert [one for one in parameters if one not in described] == []

    @pytest.mark.parametrize(
        "name",
        [name for name in CLASSES if any(name.signatures) and name.path not in MADE_BY_THE_PACKAGE],
        ids=lambda name: name.path,
    )
    def test_a_class_describes_what_it_is_made_from(self, name: Name) -> None:
        described = set(get_documented(name.docstring))
        members = [one for one in API.values() if one.parent == name.path and one.docstring]
        described |= {one.path.rpartition(".")[2] for one in members}
        assert [one for one in get_parameters(name) if one not in described] == []

    @pytest.mark.parametrize("name", CALLABLE, ids=lambda name: name.path)
    def test_what_a_function_raises_on_purpose_is_in_its_docstring(self, name: Name) -> None:
        raised = {
            ast.unparse(node.exc.func)
            for node in ast.walk(name.node)
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
        }
        public = {one for one in raised if not one.startswith("_")} - {"NotImplementedError"}
        assert [one for one in public if one not in name.docstring] == []


class TestEntries:
    def test_a_name_without_an_entry_and_an_entry_without_a_name_are_found(self) -> None:
        entries = set(API) - {"whisperr.errors.Loss"} | {"whisperr.errors.Gone"}
        assert check_entries(entries) == [
            "whisperr.errors.Loss has no entry in docs/reference/api",
            "whisperr.errors.Gone has an entry in docs/reference/api and is not a public name",
        ]
        assert check_entries(API) == []

    def test_the_site_has_an_entry_for_every_name_and_no_other(self, site: Built) -> None:
        from sphinx.util.inventory import InventoryFile

        inventory = InventoryFile.loads((site.folder / "objects.inv").read_bytes(), uri="")
        entries = [
            name
            for kind, names in inventory.data.items()
            for name in names
            if kind.startswith("py:") and not PRIVATE.search(name)
        ]
        assert check_entries(entries) == []

    def test_a_name_that_a_page_leaves_out_fails_the_build(self, tmp_path: Path) -> None:
        pages = copy_pages(tmp_path)
        page = pages / "errors.md"
        text = page.read_text(encoding="utf-8")
        assert text.count("   :members:\n") == 1
        left_out = text.replace("   :members:\n", "   :members:\n   :exclude-members: MissingKey\n")
        page.write_text(left_out, encoding="utf-8")
        assert build(tmp_path) == [
            "WARNING: whisperr.errors.MissingKey has no entry in docs/reference/api"
        ]


def copy_pages(folder: Path) -> Path:
    """Return a copy of the pages of the API, and only of those."""
    pages = folder / "api"
    if not pages.exists():
        shutil.copytree(ROOT / "docs" / "reference" / "api", pages)
    return pages


def build(folder: Path) -> list[str]:
    """Build a copy of the pages, and return what is wrong with their entries."""
    missing = [name for name in ("sphinx", "myst_parser", "furo") if find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "-q", "--no-color", "-b", "dummy"),
            *("-c", str(ROOT / "docs"), "-d", str(folder / "doctrees")),
            *(str(copy_pages(folder)), str(folder / "out")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.splitlines() if " docs/reference/api" in line]


class TestErrors:
    def test_the_table_has_every_type_and_reason(self) -> None:
        types = {name for row in REASONS for name in get_names(row[0])}
        reasons = {name for row in REASONS for name in get_names(row[1])}
        assert types == get_literals("ErrorType")
        assert reasons == get_literals("Reason") - {"vetoed"}  # which is not reported

    @pytest.mark.parametrize("name", ["ErrorType", "Reason"])
    def test_the_entry_of_a_literal_lists_its_values(self, name: str) -> None:
        page = get_text("docs/reference/api/errors.md")
        entry = page.partition(f".. py:type:: {name}\n")[2].partition("..")[0]
        assert set(re.findall(r'`"(\w+)"`', entry)) == get_literals(name)

    def test_what_becomes_of_events_is_that_of_the_accounting(self) -> None:
        for kind, reason, _, events in REASONS:
            names = get_names(reason)
            if not names:
                assert get_names(kind) != ["dropped"]
                accepted = get_names(kind) == ["incomplete"]
                assert events == ("accepted without them" if accepted else "kept")
            else:
                assert get_names(kind) == ["dropped"]
                assert events == ("lost" if names[0] in DROPPED else "never accepted"), names
                assert names[0] in (*DROPPED, *NEVER_ACCEPTED)

    def test_each_has_a_section_that_its_row_leads_to(self) -> None:
        text = get_text(ERRORS)
        named = get_literals("Reason") | get_literals("ErrorType") - {"dropped"}
        assert set(re.findall(r"^### `(\w+)`$", text, re.MULTILINE)) == named
        for name in named - {"vetoed"}:
            assert f"[`{name}`](#{name})" in text

    def test_the_pauses_are_those_of_the_code(self) -> None:
        pauses = {
            kind: [get_pause(kind, partial(float, part)) for part in (0.0, 1.0)]
            for kind in ("auth", "retry_exhausted")
        }
        assert pauses == {"auth": [60.0, 120.0], "retry_exhausted": [30.0, 60.0]}
        text = " ".join(get_text(ERRORS).split())
        assert "Delivery pauses for 1 to 2 minutes" in text
        assert "Delivery pauses for 30 to 60 seconds" in text


@pytest.mark.skipif(find_spec("django") is None, reason="django: not installed")
def test_the_pages_of_commands_and_settings_are_those_of_the_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.reference_pages", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, (
        f"{done.stdout}{done.stderr}: run python -m scripts.reference_pages"
    )
