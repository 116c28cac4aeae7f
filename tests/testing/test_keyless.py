"""Where unittest needs no key: while it imports a module, and nowhere else."""

from __future__ import annotations

import sys

import pytest

LIMIT = 60  # seconds for a process; far more than it takes

APP = """
    from whisperr import Whisperr

    client = Whisperr()
"""
TESTS = """
    import unittest

    import app
    from whisperr import Whisperr

    class Test(unittest.TestCase):
        def test_the_client_of_a_module_does_nothing(self):
            self.assertIsNone(app.client.track("42", "plan_upgraded"))

        def test_one_that_a_test_makes_needs_a_key(self):
            with self.assertRaisesRegex(ValueError, "api_key: none given"):
                Whisperr()
"""


@pytest.fixture
def written(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("WHISPERR_API_KEY", raising=False)
    pytester.makepyfile(app=APP, test_app=TESTS)
    return pytester


@pytest.mark.parametrize("arguments", [(), ("test_app",), ("discover", "-t", ".")])
def test_a_module_that_unittest_imports_needs_no_key_and_a_test_does(
    written: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    done = written.run(sys.executable, "-m", "unittest", *arguments, timeout=LIMIT)
    done.stderr.fnmatch_lines(["Ran 2 tests*", "OK"])


def test_a_program_that_has_imported_unittest_needs_one(written: pytest.Pytester) -> None:
    done = written.run(sys.executable, "-c", "import unittest.loader; import app", timeout=LIMIT)
    assert done.ret == 1
    done.stderr.fnmatch_lines(["*MissingKey: api_key: none given*"])
