"""The workflows of GitHub, which run elsewhere: their versions are ours, their commands exist.

`make lint` checks their syntax and what they may do (actionlint, zizmor).
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from scripts import django_matrix, documentation

from tests.docs.page import ROOT, get_text

if TYPE_CHECKING:
    from collections.abc import Iterator

yaml = pytest.importorskip("yaml", reason="PyYAML is in the extra `dev`")

FOLDER = ROOT / ".github"
FILES = sorted(path.relative_to(ROOT).as_posix() for path in FOLDER.rglob("*.yml"))
WORKFLOWS = [name for name in FILES if name.startswith(".github/workflows/")]
PROJECT = get_text("pyproject.toml")
ACTION = re.compile(r"uses: (?P<action>[\w.-]+/[\w.-]+)@(?P<hash>[0-9a-f]{40}) # v\d+\.\d+\.\d+")


def load(name: str) -> dict[Any, Any]:
    loaded = yaml.safe_load(get_text(name))
    assert isinstance(loaded, dict), name
    return loaded


def get_jobs(name: str) -> dict[str, Any]:
    jobs = load(name)["jobs"]
    assert isinstance(jobs, dict)
    return jobs


def get_steps() -> Iterator[dict[str, Any]]:
    """Yield every step of every workflow."""
    for name in WORKFLOWS:
        for job in get_jobs(name).values():
            yield from job.get("steps", [])


def get_matrix(job: str) -> dict[str, list[str]]:
    matrix = get_jobs(".github/workflows/ci.yml")[job]["strategy"]["matrix"]
    assert isinstance(matrix, dict)
    return matrix


def get_classified() -> list[str]:
    return re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PROJECT)


def test_every_file_is_a_mapping() -> None:
    assert len(WORKFLOWS) == 2
    for name in [*FILES, ".pre-commit-config.yaml"]:
        assert load(name)


def test_an_action_is_pinned_by_one_hash_with_its_version() -> None:
    pinned: dict[str, set[str]] = {}
    for name in WORKFLOWS:
        for line in get_text(name).splitlines():
            if "uses:" in line and "$/" not in line:
                found = ACTION.search(line)
                assert found, f"{name}: {line}"
                pinned.setdefault(found["action"], set()).add(found["hash"])
    assert "actions/checkout" in pinned
    assert {action: len(hashes) for action, hashes in pinned.items()} == dict.fromkeys(pinned, 1)


def test_a_workflow_that_is_called_exists() -> None:
    called = re.findall(r"uses: \$/(\S+)", get_text(".github/workflows/release.yml"))
    assert called == [".github/workflows/ci.yml"]
    assert "workflow_call" in load(called[0])[True]  # YAML reads `on` as true


def test_only_the_job_that_publishes_may_identify_itself() -> None:
    for name in WORKFLOWS:
        assert load(name)["permissions"] == {}, name
        for key, job in get_jobs(name).items():
            publishes = (name, key) == (".github/workflows/release.yml", "publish")
            granted = {"id-token": "write"} if publishes else {"contents": "read"}
            assert job["permissions"] == granted, f"{name}: {key}"


def test_what_is_published_was_tested_and_built_from_a_tag() -> None:
    release = load(".github/workflows/release.yml")
    assert release[True] == {"push": {"tags": ["v[0-9]+.[0-9]+.[0-9]+*"]}}
    assert release["jobs"]["publish"]["needs"] == ["ci", "build"]
    runs = [step.get("run") for step in release["jobs"]["build"]["steps"]]
    assert 'make release-check TAG="$GITHUB_REF_NAME"' in runs
    assert "release-check: wheel" in get_text("Makefile"), "which builds and tries the wheel"


def test_the_pythons_are_those_of_the_classifiers() -> None:
    pythons = get_matrix("python")["python"]
    assert [name for name in pythons if re.fullmatch(r"3\.\d+", name)] == get_classified()
    assert [name for name in pythons if name.endswith("t")], "a free-threaded Python"
    with_pypy = "Implementation :: PyPy" in PROJECT
    assert any(name.startswith("pypy") for name in pythons) == with_pypy
    assert set(get_matrix("portable")["python"]) <= set(get_classified())


def test_the_djangos_and_their_pythons_are_those_of_the_matrix() -> None:
    assert get_matrix("django")["django"] == list(django_matrix.PYTHONS)
    steps = get_jobs(".github/workflows/ci.yml")["django"]["steps"]
    (given,) = [step["with"]["python-version"] for step in steps if "python-version" in str(step)]
    needed = {version for pair in django_matrix.PYTHONS.values() for version in pair}
    assert set(given.split()) == needed


def test_the_site_is_kept_from_where_make_builds_it() -> None:
    (kept,) = [
        step["with"]["path"]
        for step in get_jobs(".github/workflows/ci.yml")["check"]["steps"]
        if "upload-artifact" in step.get("uses", "")
    ]
    assert (ROOT / kept.rstrip("/")) == documentation.OUTPUT
    assert "check: lint types test docs release-check" in get_text("Makefile")


def test_every_system_of_users_has_a_job() -> None:
    systems = [name.partition("-")[0] for name in get_matrix("portable")["system"]]
    assert systems == ["macos", "windows"]


def test_every_command_exists() -> None:
    commands = [shlex.split(step["run"]) for step in get_steps() if "run" in step]
    assert len(commands) > 5
    for command in commands:
        if command[0] == "make":
            assert re.search(rf"^{command[1]}:", get_text("Makefile"), re.MULTILINE), command
        elif command[0] == "bash":
            assert (ROOT / command[1]).is_file(), command
        elif command[:3] == ["python", "-m", "pip"]:
            extras = re.findall(r"^\.\[(.+)\]$", command[-1], re.MULTILINE)
            for extra in extras[0].split(",") if extras else []:
                assert re.search(rf"^{extra} = \[", PROJECT, re.MULTILINE), command
        else:
            assert command[:2] == ["python", "-m"], command
            check_module(command[2], command[3:])


def check_module(module: str, arguments: list[str]) -> None:
    """Check that a module of the tree exists, and that it knows the options."""
    assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module
    options = [word for word in arguments if word.startswith("--")]
    if options:
        asked = [sys.executable, "-m", module, "--help"]
        help_ = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert [option for option in options if option not in help_] == [], module


def test_the_forms_link_to_pages_that_exist() -> None:
    text = "\n".join(map(get_text, FILES))
    links = re.findall(
        r"github\.com/WhisperrAI/whisperr-python/(?:blob|tree)/main/([\w./-]+)", text
    )
    assert len(links) > 1
    for link in links:
        assert (ROOT / link).exists(), link


def test_the_hooks_have_the_versions_of_the_constraints() -> None:
    pins = dict(re.findall(r"^([\w-]+)==([\w.]+)", get_text("constraints.txt"), re.MULTILINE))
    revisions = {
        repository["repo"].rpartition("/")[2].removesuffix("-pre-commit"): repository["rev"]
        for repository in load(".pre-commit-config.yaml")["repos"]
    }
    assert revisions == {name: f"v{pins[name]}" for name in ("ruff", "codespell")}
