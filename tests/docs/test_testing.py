"""The modules of docs/testing.md run together, under the file names that they have there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from whisperr import testing

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")
SETTINGS = """
import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    USE_TZ=True,
)
django.setup()
"""
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


def test_every_module_passes_under_pytest(
    written: dict[str, str], pytester: pytest.Pytester
) -> None:
    done = pytester.runpytest_subprocess(*BARE, "--ignore=test_with_django.py", timeout=LIMIT)
    tests = sum(
        len(re.findall(r"^ *(?:async )?def test_", text, re.MULTILINE))
        for name, text in written.items()
        if name != "test_with_django.py"
    )
    assert tests >= 8
    done.assert_outcomes(passed=tests)


@pytest.mark.skipif(importlib.util.find_spec("django") is None, reason="django: not installed")
def test_the_tests_of_django_run_with_its_own_runner(
    written: dict[str, str], pytester: pytest.Pytester
) -> None:
    program = pytester.path / "run_them.py"
    program.write_text(
        SETTINGS + "from django.test.utils import get_runner\n"
        "raise SystemExit(get_runner(settings)().run_tests(['test_with_django']))\n",
        encoding="utf-8",
    )
    done = pytester.runpython(program)
    assert done.ret == 0
    done.stderr.fnmatch_lines(["Ran 2 tests*", "OK"])


def test_the_shown_failure_is_the_real_one() -> None:
    (expected,) = [text for kind, text in BLOCK.findall(PAGE) if kind == "text"]
    billing: dict[str, object] = {}
    source = next(text for _, text in BLOCK.findall(PAGE) if text.startswith("# billing.py"))
    exec(compile(source, "billing.py", "exec"), billing)
    with testing.capture() as events:
        billing["upgrade"](42, "pro")  # type: ignore[operator]  # a function of the page
    with pytest.raises(AssertionError) as caught:
        events.assert_tracked("plan_upgraded", user=42, properties={"plan": "team"})
    assert str(caught.value) == expected.rstrip("\n")


@pytest.mark.parametrize("name", testing.__all__)
def test_every_public_name_is_explained(name: str) -> None:
    assert getattr(testing, name) is not None
    returned = {"Events", "RecordedEvent", "RecordedIdentify", "Reply", "SentRequest"}
    assert name in returned or name in PAGE
