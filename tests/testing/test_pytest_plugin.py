"""The pytest plugin, in test runs of its own as users have them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    RunTests = Callable[..., pytest.RunResult]

APP = """
from whisperr import Whisperr

client = Whisperr(disabled=True)

def upgrade(user, plan):
    client.track(user, "plan_upgraded", {"plan": plan})

def mistake():
    client.track("42", "Plan Upgraded")  # the line of the mistake
"""
# Without what other plugins do at the end of every run, which takes longer than all of these.
BARE = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
LIMIT = 60  # seconds for one run; far more than it takes
IMPORTED = """
import json, sys
import pytest, whisperr
before = set(sys.modules)
import whisperr.pytest_plugin
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.fixture
def run(pytester: pytest.Pytester) -> RunTests:
    """Write a test file and run it, with `process=True` in a process of its own."""
    pytester.makepyfile(app=APP)

    def run(source: str, *options: str, process: bool = False) -> pytest.RunResult:
        pytester.makepyfile(test_app=source)
        given = (*BARE, "-W", "error", *options)
        if process:
            return pytester.runpytest_subprocess(*given, timeout=LIMIT)
        return pytester.runpytest_inprocess(*given)

    return run


def test_the_plugin_imports_only_pytest() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], capture_output=True, check=True, text=True, timeout=LIMIT
    )
    assert json.loads(done.stdout) == ["whisperr.pytest_plugin"]


def test_the_fixture_records_and_starts_empty_in_each_test(run: RunTests) -> None:
    done = run(
        """
        import app

        def test_one(whisperr_events):
            app.upgrade("42", "pro")
            whisperr_events.assert_tracked("plan_upgraded", user="42", properties={"plan": "pro"})

        def test_two(whisperr_events):
            assert whisperr_events == []

        def test_without_it_a_disabled_client_does_nothing():
            app.mistake()
            assert not app.client.ready
        """
    )
    done.assert_outcomes(passed=3)


def test_a_failed_assertion_shows_the_test_and_the_difference_without_frames_of_the_package(
    run: RunTests,
) -> None:
    done = run(
        """
        import app

        def test_one(whisperr_events):
            app.upgrade("42", "free")
            whisperr_events.assert_tracked("plan_upgraded", properties={"plan": "pro"})
        """,
        process=True,
    )
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        [
            ">*assert_tracked(*",
            "E*nearest (- expected, + recorded):",
            'E*    - properties.plan: "pro"',
            'E*    + properties.plan: "free"',
            "test_app.py:5: AssertionError",
        ]
    )
    done.stdout.no_fnmatch_line("*whisperr?testing*")


STRICT_TESTS = """
    import pytest
    import app

    {marker}
    def test_a_mistake(whisperr_events):
        app.mistake()
"""


@pytest.mark.parametrize(
    ("marker", "ini", "fails"),
    [
        ("", "", False),
        ("", "whisperr_strict = true", True),
        ("", "whisperr_strict = false", False),
        ("@pytest.mark.whisperr(strict=True)", "", True),
        ("@pytest.mark.whisperr", "", True),
        ("@pytest.mark.whisperr(strict=False)", "whisperr_strict = true", False),
    ],
    ids=str,
)
def test_strictness_fails_a_test_at_the_line_of_the_call(
    run: RunTests, pytester: pytest.Pytester, marker: str, ini: str, fails: bool
) -> None:
    pytester.makeini(f"[pytest]\naddopts = --strict-markers\n{ini}\n")
    done = run(STRICT_TESTS.format(marker=marker))
    done.assert_outcomes(passed=not fails, failed=int(fails))
    if fails:
        done.stdout.fnmatch_lines(
            [">*# the line of the mistake", "E*InvalidEvent: event_type: got 'Plan Upgraded'*"]
        )
        done.stdout.fnmatch_lines(["app.py:9: InvalidEvent"])
        done.stdout.no_fnmatch_line("*event.py*")


def test_strictness_applies_to_fixtures_and_ends_with_the_test(
    run: RunTests, pytester: pytest.Pytester
) -> None:
    done = run(
        """
        import pytest
        import app

        @pytest.fixture
        def setup(whisperr_events):
            app.mistake()

        @pytest.mark.whisperr
        def test_a_mistake_in_a_fixture(setup):
            pass

        def test_after_it(setup):
            pass

        @pytest.mark.whisperr
        def test_a_mistake_that_is_expected(whisperr_events):
            from whisperr import InvalidEvent
            with pytest.raises(InvalidEvent):
                app.mistake()
        """
    )
    done.assert_outcomes(errors=1, passed=2)


@pytest.mark.parametrize("arguments", ["(True)", "(strikt=True)", "(strict='yes')"])
def test_a_wrong_marker_is_an_error(run: RunTests, arguments: str) -> None:
    done = run(STRICT_TESTS.format(marker=f"@pytest.mark.whisperr{arguments}"))
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*takes only strict=True or strict=False"])


def test_clients_and_processes_of_a_test_find_the_server(run: RunTests) -> None:
    done = run(
        """
        import os, subprocess, sys
        from whisperr import Whisperr

        PROGRAM = (
            "from whisperr import Whisperr\\n"
            "with Whisperr() as client: client.track('43', 'trial_started')"
        )

        def test_one(whisperr_server):
            with Whisperr() as client:
                client.track("42", "payment_failed")
            assert [a.user for a in whisperr_server.arrivals()] == ["42"]
            subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=60)
            assert [a.user for a in whisperr_server.wait(2)] == ["42", "43"]

        def test_two():
            assert "WHISPERR_BASE_URL" not in os.environ
            assert "WHISPERR_API_KEY" not in os.environ
        """
    )
    done.assert_outcomes(passed=2)


# An application as it is written for production: its clients are made when it is imported.
PRODUCTION = """
    from whisperr import Whisperr
    from whisperr._integrations.client import get_environment_client

    client = Whisperr()

    def upgrade(user):
        client.track(user, "plan_upgraded")
        get_environment_client().track(user, "seen")
"""


@pytest.mark.parametrize("importer", ["the test", "a conftest", "in the test"])
def test_an_application_without_a_key_is_imported_recorded_and_sends_to_the_server(
    run: RunTests, pytester: pytest.Pytester, importer: str
) -> None:
    pytester.makepyfile(production=PRODUCTION)
    if importer == "a conftest":
        pytester.makeconftest("import production")
    done = run(
        f"""
        {"import production" if importer != "in the test" else ""}

        def test_of_something_else():
            import production
            production.upgrade("lost")
            assert not production.client.ready

        def test_one(whisperr_events):
            import production
            production.upgrade("42")
            assert [event.type for event in whisperr_events] == ["plan_upgraded", "seen"]

        def test_two(whisperr_server):
            import production
            production.upgrade("43")
            assert [a.user for a in whisperr_server.wait(2)] == ["43", "43"]

        def test_three(whisperr_events):
            assert whisperr_events == []
            import production
            assert not production.client.stats().accepted
        """,
        process=True,
    )
    done.assert_outcomes(passed=4)


def test_it_is_so_in_several_processes(run: RunTests, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(production=PRODUCTION)
    done = run(
        """
        import production
        import pytest
        from whisperr import Whisperr

        @pytest.mark.parametrize("n", range(4))
        def test_one(whisperr_events, n):
            production.upgrade(n)
            assert [event.user for event in whisperr_events] == [str(n)] * 2

        def test_two():
            with pytest.raises(ValueError, match="WHISPERR_API_KEY"):
                Whisperr()
        """,
        "-n",
        "2",
        process=True,
    )
    done.assert_outcomes(passed=5)


def test_without_the_plugin_a_client_needs_a_key(run: RunTests, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(production=PRODUCTION)
    done = run("import production", "-p", "no:whisperr", process=True)
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["E*api_key: none given and WHISPERR_API_KEY is not set*"])


def test_a_wrong_key_is_an_error_with_the_plugin_too(
    run: RunTests, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPERR_API_KEY", "two words")
    pytester.makepyfile(production=PRODUCTION)
    run("import production", process=True).assert_outcomes(errors=1)


def test_a_client_that_a_test_makes_needs_a_key_unless_a_fixture_is_on(run: RunTests) -> None:
    done = run(
        """
        import pytest
        from whisperr import Whisperr

        client = Whisperr()

        def test_one():
            with pytest.raises(ValueError, match="WHISPERR_API_KEY"):
                Whisperr()

        def test_two(whisperr_events):
            Whisperr().track("42", "trial_started")
            assert len(whisperr_events) == 1

        def test_three(whisperr_server):
            Whisperr().track("42", "trial_started")
            assert len(whisperr_server.wait(1)) == 1
        """,
        "--import-mode=importlib",
    )
    done.assert_outcomes(passed=3)


def test_both_fixtures_together_are_an_error(run: RunTests) -> None:
    done = run("def test_one(whisperr_server, whisperr_events):\n    pass\n")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*use one of the two"])


MANY = """
    import pytest
    import app

    @pytest.mark.parametrize("n", range(12))
    def test_only_its_own_events(whisperr_events, n):
        app.upgrade(n, "pro")
        assert whisperr_events.one().user == str(n)
"""
SHUFFLED = """
    import random

    def pytest_collection_modifyitems(items):
        random.Random(8842).shuffle(items)
"""


def test_the_plugin_works_in_random_order(run: RunTests, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(SHUFFLED)
    run(MANY).assert_outcomes(passed=12)


def test_the_plugin_works_in_several_processes(run: RunTests) -> None:
    run(MANY, "-n", "2", process=True).assert_outcomes(passed=12)


def test_the_plugin_can_be_left_out(run: RunTests) -> None:
    done = run(MANY, "-p", "no:whisperr", process=True)
    done.assert_outcomes(errors=12)
    done.stdout.fnmatch_lines(["*fixture 'whisperr_events' not found"])


def test_the_marker_and_the_option_are_in_the_help(pytester: pytest.Pytester) -> None:
    done = pytester.runpytest_inprocess(*BARE, "--markers")
    done.stdout.fnmatch_lines(["@pytest.mark.whisperr(strict=True): *"])
    done = pytester.runpytest_inprocess(*BARE, "--help")
    done.stdout.fnmatch_lines(["*whisperr_strict (bool):*"])
