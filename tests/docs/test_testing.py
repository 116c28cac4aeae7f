"""The modules of docs/develop/testing.md run together, under the file names given there."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from tests.docs.page import get_blocks
from whisperr import testing

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "develop" / "testing.md").read_text(
    encoding="utf-8"
)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")
BARE = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-W", "error")
LIMIT = 120  # seconds for one run; far more than it takes


@pytest.fixture
def written(pytester: pytest.Pytester) -> dict[str, str]:
    """Write every module of the page; return them by name."""
    files = {}
    for kind, text in BLOCK.findall(PAGE):
        if kind == "python":
            found = FILE.match(text)
            assert found, f"no file name in:\n{text}"
            files[found[1]] = text
        elif kind == "ini":
            files["pytest.ini"] = text
    for name, text in files.items():
        (pytester.path / name).write_text(text, encoding="utf-8")
    return files


@pytest.mark.parametrize("disabled", ["", "1"])
@pytest.mark.parametrize("left_out", ["", "conftest.py"])
def test_every_module_passes_under_pytest(
    written: dict[str, str],
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    disabled: str,
    left_out: str,
) -> None:
    monkeypatch.setenv("WHISPERR_DISABLED", disabled)
    if left_out:
        (pytester.path / left_out).unlink()
    done = pytester.runpytest_subprocess(*BARE, "--ignore=tests.py", timeout=LIMIT)
    tests = sum(
        len(re.findall(r"^ *(?:async )?def test_", text, re.MULTILINE))
        for name, text in written.items()
        if name != "tests.py"
    )
    assert tests >= 8
    done.assert_outcomes(passed=tests)


@pytest.mark.parametrize("disabled", ["", "1"])
def test_the_tests_of_unittest_run_with_its_own_runner(
    written: dict[str, str],
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    disabled: str,
) -> None:
    assert "\npython -m unittest\n" in PAGE
    monkeypatch.setenv("WHISPERR_DISABLED", disabled)
    modules = [name.removesuffix(".py") for name, text in written.items() if "(unittest." in text]
    done = pytester.run(sys.executable, "-m", "unittest", *modules, timeout=LIMIT)
    assert done.ret == 0
    done.stderr.fnmatch_lines([f"Ran {len(modules)} tests*", "OK"])


@pytest.mark.skipif(importlib.util.find_spec("django") is None, reason="django: not installed")
def test_the_test_of_django_runs_in_the_project_of_its_guide(tmp_path: Path) -> None:
    from tests.django.projects import run_in, start_project

    guide = {}
    for block in reversed(get_blocks("docs/frameworks/django.md", "python")):
        guide[block.partition("\n")[0].removeprefix("# ")] = block
    modules = {text.partition("\n")[0].removeprefix("# "): text for _, text in BLOCK.findall(PAGE)}
    assert modules["tests.py"] == guide["tests.py"]
    files = {name: guide[name] for name in ("views.py", "tests.py")}
    start_project(tmp_path, guide["settings.py"], files | {"shop/urls.py": guide["urls.py"]})
    done = run_in(tmp_path, "manage.py", "test", WHISPERR_DISABLED="1")
    assert done.returncode == 0, done.stderr
    assert "Ran 1 test" in done.stderr


def test_the_shown_failure_is_the_real_one() -> None:
    (expected,) = [text for kind, text in BLOCK.findall(PAGE) if kind == "text"]
    billing: dict[str, object] = {}
    source = next(text for _, text in BLOCK.findall(PAGE) if text.startswith("# billing.py"))
    with testing.capture() as events:
        exec(compile(source, "billing.py", "exec"), billing)
        billing["upgrade"](42, "pro")  # type: ignore[operator]  # a function of the page
    with pytest.raises(AssertionError) as caught:
        events.assert_tracked("plan_upgraded", user=42, properties={"plan": "team"})
    assert str(caught.value) == expected.rstrip("\n")


@pytest.mark.parametrize("name", testing.__all__)
def test_every_public_name_is_explained(name: str) -> None:
    assert getattr(testing, name) is not None
    returned = {"Events", "RecordedEvent", "RecordedIdentify", "Reply", "SentRequest"}
    assert name in returned or name in PAGE
