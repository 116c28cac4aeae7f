"""CONTRIBUTING.md holds: its map is complete, its paths exist, no step of a recipe is forgotten."""

from __future__ import annotations

import inspect
import json
import os
import re
import runpy
from typing import TYPE_CHECKING, Any

import pytest

from tests.docs.page import ROOT, get_blocks, get_text
from whisperr import InvalidEvent, Whisperr
from whisperr._cli.main import main
from whisperr._events.identify import encode_identify
from whisperr.dev import LocalServer
from whisperr.dev._ingest.model import Problem
from whisperr.dev._ingest.validation import get_hint, validate_identify
from whisperr.testing import RecordedIdentify, capture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = get_text("CONTRIBUTING.md")
AGENTS = get_text("AGENTS.md")
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
OTHER_PUBLIC_MODULES = {
    "billing",
    "buffers",
    "channel",
    "dev",
    "errors",
    "events",
    "privacy",
    "protocols",
}
OTHER_PUBLIC_MODULES |= {"pytest_plugin", "testing", "client", "transport"}
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


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """Start a local server; the environment has its address and a key."""
    with LocalServer() as server:
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_test")
        monkeypatch.setenv("WHISPERR_BASE_URL", server.url)
        yield server


def test_the_map_names_every_module() -> None:
    there = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py")}
    there = {name for name in there if not name.endswith(("__init__.py", "_version.py"))}
    there = {name for name in there if not re.search(r"/(management|migrations)/", name)}
    named = get_modules()
    assert {"missing": there - named, "gone": named - there} == {"missing": set(), "gone": set()}


def test_every_path_that_is_named_exists() -> None:
    paths = re.findall(r"`([\w./-]+(?:\.(?:py|md|toml|txt|js)|/)|tests/\w+)`", PAGE + AGENTS)
    assert len(paths) > 50
    for path in set(paths) - {"dist/"}:  # which a build makes
        assert (ROOT / path).exists() or (SOURCE / path).exists(), path


def test_every_make_target_that_is_named_exists() -> None:
    makefile = get_text("Makefile")
    text = "\n".join([*get_blocks("README.md", "console"), PAGE, AGENTS])
    named = set(re.findall(r"^ *make ([a-z-]+)|`make ([a-z-]+)", text, re.MULTILINE))
    targets = {first or second for first, second in named}
    assert {"demo", "test", "check"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_rules_for_agents_fit_in_40_lines() -> None:
    assert len(AGENTS.splitlines()) <= 40


def to_wrong(value: Any) -> Any:
    """Return a value of the same shape that is another one."""
    if isinstance(value, str):
        return f"not {value}"
    if isinstance(value, dict):
        return {key: to_wrong(member) for key, member in value.items()}
    return [to_wrong(member) for member in value]


def to_assertion(name: str, value: Any) -> dict[str, Any]:
    """Return the arguments of `assert_identified` that ask for a parameter of `identify`."""
    if name == "push_token":  # nothing asks for it but its channel
        return {"channels": [{"channel": "push", "address": value}]}
    return {name: value}


class TestIdentify:
    """A parameter of `identify` is in every place that the recipe names."""

    def test_the_client_and_the_encoder_have_the_same_parameters(self) -> None:
        names = list(inspect.signature(Whisperr.identify).parameters)[2:]
        assert names == list(IDENTIFY)
        assert list(inspect.signature(encode_identify).parameters)[1:] == names

    @pytest.mark.parametrize("name", IDENTIFY)
    def test_the_docstring_and_the_page_about_testing_name_it(self, name: str) -> None:
        assert re.search(rf"\b{name}\b", inspect.getdoc(Whisperr.identify) or "")
        assert f"{name}=" in get_text("docs/develop/testing.md")

    @pytest.mark.parametrize("name", IDENTIFY)
    def test_the_encoder_refuses_a_wrong_type(self, name: str) -> None:
        with pytest.raises(InvalidEvent, match=rf"^{name}: "):
            encode_identify("ada", **{name: object()})

    @pytest.mark.parametrize("name", IDENTIFY)
    def test_a_test_can_ask_for_it(self, name: str) -> None:
        with capture() as events, Whisperr("wrk_test") as client:
            client.identify("ada", **{name: IDENTIFY[name]})
            events.assert_identified("ada", **to_assertion(name, IDENTIFY[name]))
            with pytest.raises(AssertionError):
                events.assert_identified("ada", **to_assertion(name, to_wrong(IDENTIFY[name])))

    def test_a_record_has_a_property_for_it(self) -> None:
        for name in set(IDENTIFY) - {"email", "phone", "push_token"}:  # which are channels
            encoded = encode_identify("ada", **{name: IDENTIFY[name]})
            assert getattr(RecordedIdentify(json.loads(encoded)), name) == IDENTIFY[name]

    @pytest.mark.parametrize("name", sorted(set(IDENTIFY) - NOT_ON_A_COMMAND_LINE))
    def test_the_command_sends_it(self, name: str, local: LocalServer) -> None:
        value = IDENTIFY[name]
        words = [f"{k}={v}" for k, v in value.items()] if isinstance(value, dict) else [value]
        option = f"--{name.replace('_', '-').removesuffix('s')}"
        assert main(["identify", "ada", *(one for word in words for one in (option, word))]) == 0
        (arrival,) = local.arrivals()
        assert arrival.problems == ()
        assert arrival.body == json.loads(encode_identify("ada", **{name: value}))

    @pytest.mark.parametrize("name", IDENTIFY)
    def test_the_local_server_accepts_it(self, name: str, local: LocalServer) -> None:
        with Whisperr("wrk_test", base_url=local.url) as client:
            client.identify("ada", **{name: IDENTIFY[name]})
            assert client.flush(10)
        (arrival,) = local.arrivals()
        assert arrival.problems == ()
        assert set(arrival.body) != {"external_user_id"}

    @pytest.mark.parametrize("name", IDENTIFY)
    def test_the_local_server_refuses_a_wrong_type_with_a_hint(self, name: str) -> None:
        body = json.loads(encode_identify("ada", **{name: IDENTIFY[name]}))
        (key,) = set(body) - {"external_user_id"}  # `channels` for the shortcuts
        wrong = 7 if isinstance(body[key], str) else "text"
        (problem,) = validate_identify({**body, key: wrong})
        assert problem.pointer == f"/{key}"
        assert get_hint(problem) != get_hint(Problem("", "", "")), "the hint of all other keys"

    @pytest.mark.parametrize("name", IDENTIFY)
    def test_a_line_of_an_import_may_have_it(
        self, name: str, tmp_path: Path, local: LocalServer
    ) -> None:
        path = tmp_path / "lines.jsonl"
        path.write_text(json.dumps({"external_user_id": "ada", name: IDENTIFY[name]}) + "\n")
        assert main(["import", str(path)]) == 0
        (arrival,) = local.arrivals()
        assert arrival.problems == ()
        assert arrival.body == json.loads(encode_identify("ada", **{name: IDENTIFY[name]}))


def test_every_integration_is_in_the_tables() -> None:
    duties = get_text("docs/frameworks/write-your-own.md")
    public = {path.stem for path in SOURCE.iterdir() if not path.name.startswith("_")}
    guides = {
        name: guide
        for line in duties.splitlines()
        for name in re.findall(r"`whisperr\.(\w+)`", line)
        for guide in re.findall(r"\]\(([\w./-]+\.md)\)", line)
    }
    for name in public - OTHER_PUBLIC_MODULES - {"django", "py"}:
        assert name in guides, name
        assert os.path.normpath(f"docs/frameworks/{guides[name]}") in get_text("README.md"), name
        if name not in {"opentelemetry", "prometheus"}:  # they have no processes
            assert guides[name].split("/")[-1] in get_text("docs/delivery/processes.md"), name


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
    line = next(
        line for line in get_text("docs/frameworks/django.md").splitlines() if "under WSGI" in line
    )
    assert re.findall(r"\d+\.\d+", line) == list(matrix)
    lowest = re.search(r'^django = \["django>=(.+)"\]', PROJECT, re.MULTILINE)
    assert lowest is not None
    assert lowest[1] == next(iter(matrix))
