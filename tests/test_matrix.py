"""The matrix of Pythons: its table, its verdict, and the configuration of pip inside."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING

import pytest
from scripts import matrix, systems
from scripts.matrix import Result, Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PASSED = Result("3.12.1", "cpython", "passed", 12, 1, 0, 3.5)
FAILED = Result("3.11.17", "pypy", "failed", 11, 1, 1, 9.0, "PyPy")
MISSING = Result("3.15", note="nowhere")


class TestVerdict:
    @pytest.mark.parametrize(
        ("results", "code", "line"),
        [
            ([PASSED], 0, "passed: cpython 3.12.1"),
            ([PASSED, MISSING], 2, "passed: cpython 3.12.1; not installed: 3.15"),
            ([PASSED, FAILED], 1, "passed: cpython 3.12.1; failed: pypy 3.11.17"),
            ([FAILED, MISSING], 1, "failed: pypy 3.11.17; not installed: 3.15"),
            ([MISSING], 1, "not installed: 3.15"),
            ([], 1, ""),
        ],
    )
    def test_the_verdict_names_failed_and_missing_runs_and_sets_the_exit_code(
        self, results: list[Result], code: int, line: str
    ) -> None:
        assert matrix.get_verdict(results) == (code, line)

    def test_the_table_has_a_row_for_each_run(self) -> None:
        assert matrix.to_table([PASSED, FAILED, MISSING]).splitlines() == [
            "python   implementation  result         passed  skipped  failed  seconds  note",
            "3.12.1   cpython         passed         12      1        0       3.5",
            "3.11.17  pypy            failed         11      1        1       9.0      PyPy",
            "3.15                     not installed  0       0        0       0.0      nowhere",
        ]

    def test_broken_tests_count_as_failed(self) -> None:
        report = (
            '<testsuites><testsuite tests="9" failures="2" errors="1" skipped="1"/></testsuites>'
        )
        assert matrix.parse_counts(report) == (5, 1, 3)


class FakeSystem:
    """A system that runs no command and returns the given results."""

    sources = str(systems.ROOT)
    environments = "/somewhere"

    def __init__(self, failing: str) -> None:
        self._failing = failing
        self.commands: list[str] = []

    def get_interpreter(self, version: str) -> str:
        if version == self._failing:
            raise LookupError("nowhere")
        return f"python{version}"

    def run(
        self,
        command: Sequence[str],
        *,
        variables: Mapping[str, str] | None = None,
        output: int | None = None,
        timeout: float | None = None,
    ) -> CompletedProcess[str]:
        self.commands.append(" ".join(command))
        return CompletedProcess(command, int(self._failing in self.commands[-1]), "")


class TestSettingUp:
    def test_a_missing_interpreter_is_reported_and_nothing_runs(self) -> None:
        system = FakeSystem(failing="3.15")
        assert matrix.run_tests(system, Run("3.15")) == Result("3.15", note="nowhere")
        assert system.commands == []

    def test_an_environment_that_cannot_be_made_is_a_failure(self) -> None:
        system = FakeSystem(failing="-m venv")
        result = matrix.run_tests(system, Run("3.12"))
        assert result.result == "failed"
        assert result.note == "not set up: python3.12 -m venv /somewhere/3.12"

    def test_an_extra_that_cannot_be_installed_is_named(self) -> None:
        system = FakeSystem(failing="[odd]")
        extras = ("test", "odd", "even")
        python, lacks = matrix.make_environment(system, Run("3.12"), "python3.12", extras)
        assert python == "/somewhere/3.12/bin/python"
        assert lacks == ["extra odd cannot be installed"]
        assert system.commands[-1].endswith(".[even]")


class TestMachine:
    def test_a_running_interpreter_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        assert systems.Machine().run(["true"]).returncode == 0
        with pytest.raises(LookupError, match="not on the PATH"):
            systems.Machine().get_interpreter("2.1")
        monkeypatch.setenv("PYENV_ROOT", "/nowhere")
        monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
        try:
            assert version in systems.Machine().get_interpreter(version)
        except LookupError:
            pytest.skip(f"python{version} is not on the PATH")

    def test_this_python_is_the_only_one_of_its_system(self) -> None:
        this = systems.ThisPython()
        assert this.get_interpreter(this.version) == sys.executable
        assert sys.implementation.name in this.version
        with pytest.raises(LookupError, match=f"^this is {this.version}$"):
            this.get_interpreter("3.1")


class TestConfiguration:
    """No address of a real mirror or index stands here: example.invalid never exists."""

    def test_the_mirror_is_the_one_of_apt(self) -> None:
        lines = """Debian Debian-Security http://example.invalid/security
Debian Debian http://example.invalid/debian
"""
        assert systems.parse_mirror(lines) == "http://example.invalid/debian"

    def test_without_a_mirror_there_is_no_root(self) -> None:
        with pytest.raises(LookupError, match="no Debian mirror"):
            systems.parse_mirror("Other Other http://example.invalid/other\n")

    def test_pip_inside_is_configured_like_pip_of_this_machine(self) -> None:
        listed = """:env:.timeout='9'
global.extra-index-url='\\nfile:///a/simple\\nfile:///b/simple'
global.timeout='5'
install.no-binary='x'
list.format='json'
"""
        assert systems.parse_variables(listed) == {
            "PIP_EXTRA_INDEX_URL": "file:///a/simple file:///b/simple",
            "PIP_TIMEOUT": "9",
            "PIP_NO_BINARY": "x",
        }

    @pytest.mark.parametrize(
        ("values", "paths"),
        [
            ("180 1", []),
            ("/c/ca.crt /w", ["/c/ca.crt", "/w"]),
            ("file:///a/simple file:///a/simple", ["/a"]),
            ("file:///simple https://example.invalid/simple", []),
        ],
    )
    def test_local_files_and_indexes_of_pip_are_shown_inside(
        self, values: str, paths: list[str]
    ) -> None:
        assert systems.find_paths(values) == paths
