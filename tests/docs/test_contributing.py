"""CONTRIBUTING.md holds: its map is complete, its paths exist, no step of a recipe is forgotten."""

from __future__ import annotations

import argparse
import inspect
import json
import re
import runpy
from typing import Any

import pytest

from tests.docs.page import ROOT, get_blocks, get_text
from whisperr import Whisperr, __version__
from whisperr._cli.main import make_parser
from whisperr._events.identify import encode_identify
from whisperr.dev import LocalServer
from whisperr.testing import Events, RecordedIdentify

PAGE = get_text("CONTRIBUTING.md")
PROJECT = get_text("pyproject.toml")
SOURCE = ROOT / "src" / "whisperr"
# One value for each parameter of `identify` after the user.
IDENTIFY: dict[str, Any] = {
    "traits": {"plan": "pro"},
    "email": "ada@example.com",
    "phone": "+4915112345678",
    "push_token": "a token",
    "preferred_channel": "email",
    "channels": [{"channel": "email", "address": "ada@example.com"}],
    "anonymous_id": "3f2c",
}
OTHER_PUBLIC_MODULES = {"billing", "buffers", "channel", "dev", "errors", "protocols"}
OTHER_PUBLIC_MODULES |= {"pytest_plugin", "testing"}
NOT_ON_A_COMMAND_LINE = {"channels"}


def get_modules() -> set[str]:
    """Return the modules that the map names."""
    named: set[str] = set()
    for places, modules in re.findall(r"^\| (`.+?) \| .+ \| (.*)\|$", PAGE, re.MULTILINE):
        for place in re.findall(r"`([\w/.]+)`", places):
            named |= {place} if place.endswith(".py") else set()
            if place.endswith("/"):
                named |= {f"{place}{module}.py" for module in re.findall(r"`(\w+)`", modules)}
    return named


def test_the_map_names_every_module() -> None:
    there = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py")}
    there = {name for name in there if not name.endswith(("__init__.py", "_version.py"))}
    there = {name for name in there if not re.search(r"/(management|migrations)/", name)}
    named = get_modules()
    assert {"missing": there - named, "gone": named - there} == {"missing": set(), "gone": set()}


def test_every_path_that_is_named_exists() -> None:
    paths = re.findall(r"`([\w./-]+(?:\.(?:py|md|toml|txt|js)|/)|tests/\w+)`", PAGE)
    assert len(paths) > 50
    for path in set(paths) - {"dist/"}:  # which a build makes
        assert (ROOT / path).exists() or (SOURCE / path).exists(), path


def test_every_make_target_that_is_named_exists() -> None:
    makefile = get_text("Makefile")
    text = "\n".join([*get_blocks("README.md", "console"), PAGE])
    named = set(re.findall(r"^ *make ([a-z-]+)|`make ([a-z-]+)", text, re.MULTILINE))
    targets = {first or second for first, second in named}
    assert {"demo", "test", "check"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


class TestIdentify:
    """A parameter of `identify` is in every place that the recipe names."""

    def test_the_client_and_the_encoder_have_the_same_parameters(self) -> None:
        names = list(inspect.signature(Whisperr.identify).parameters)[2:]
        assert names == list(IDENTIFY)
        assert list(inspect.signature(encode_identify).parameters)[1:] == names

    def test_a_test_can_ask_for_it(self) -> None:
        known = set(inspect.signature(Events.assert_identified).parameters)
        assert set(IDENTIFY) - {"push_token"} <= known
        for name in set(IDENTIFY) - {"email", "phone", "push_token"}:
            assert hasattr(RecordedIdentify, name), name

    def test_the_command_has_an_option_for_it(self) -> None:
        commands: Any = next(
            one for one in make_parser()._actions if isinstance(one, argparse._SubParsersAction)
        )
        text = commands.choices["identify"].format_help()
        for name in set(IDENTIFY) - NOT_ON_A_COMMAND_LINE:
            assert f"--{name.replace('_', '-').removesuffix('s')}" in text, name

    @pytest.mark.parametrize("name", IDENTIFY)
    def test_the_local_server_accepts_it(self, name: str) -> None:
        with LocalServer() as server, Whisperr("wrk_test", base_url=server.url) as client:
            client.identify("ada", **{name: IDENTIFY[name]})
            assert client.flush(10)
            (arrival,) = server.arrivals()
        assert arrival.problems == ()
        assert set(arrival.body) != {"external_user_id"}

    @pytest.mark.parametrize("name", IDENTIFY)
    def test_a_line_of_an_import_may_have_it(
        self, name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from whisperr._cli.main import main

        path = tmp_path / "lines.jsonl"
        path.write_text(json.dumps({"external_user_id": "ada", name: IDENTIFY[name]}) + "\n")
        with LocalServer() as server:
            monkeypatch.setenv("WHISPERR_API_KEY", "wrk_test")
            monkeypatch.setenv("WHISPERR_BASE_URL", server.url)
            assert main(["import", str(path)]) == 0
            assert [arrival.status for arrival in server.arrivals()] == ["accepted"]


def test_every_integration_is_in_the_tables() -> None:
    duties = get_text("docs/integrations.md")
    public = {path.stem for path in SOURCE.iterdir() if not path.name.startswith("_")}
    guides = {
        name: guide
        for line in duties.splitlines()
        for name in re.findall(r"`whisperr\.(\w+)`", line)
        for guide in re.findall(r"\]\((\w+\.md)\)", line)
    }
    for name in public - OTHER_PUBLIC_MODULES - {"django", "py"}:
        assert name in guides, name
        assert f"(docs/{guides[name]})" in get_text("README.md"), name
        if name != "opentelemetry":  # it has no processes
            assert guides[name] in get_text("docs/processes.md"), name


def test_the_versions_of_python_are_those_of_the_classifiers() -> None:
    versions = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PROJECT)
    for page in ("CONTRIBUTING.md", "Makefile"):
        text = get_text(page)
        first, last = re.findall(r"Python (3\.\d+) to (3\.\d+)", text)[0]
        span = versions[versions.index(first) : versions.index(last) + 1]
        newer = [name for name in versions if f"{name}," in text or f"{name} and PyPy" in text]
        assert [*span, *(name for name in newer if name not in span)] == versions, page


def test_the_versions_of_django_are_those_of_the_matrix() -> None:
    matrix = runpy.run_path(str(ROOT / "scripts" / "django_matrix.py"))["PYTHONS"]
    line = next(line for line in get_text("docs/django.md").splitlines() if "under WSGI" in line)
    assert re.findall(r"\d+\.\d+", line) == list(matrix)
    lowest = re.search(r'^django = \["django>=(.+)"\]', PROJECT, re.MULTILINE)
    assert lowest is not None
    assert lowest[1] == next(iter(matrix))


def test_the_changelog_has_the_version_of_the_package() -> None:
    headings = re.findall(r"^## \[(.+?)\]", get_text("CHANGELOG.md"), re.MULTILINE)
    assert headings[:2] == ["Unreleased", __version__]
