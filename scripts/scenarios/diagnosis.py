"""Scenarios: wrong configuration, outages that people must hear of, and imports of files."""

from __future__ import annotations

from scripts.scenarios.scenario import Scenario

DELAY = "tests/delivery/test_delay.py"
WITHOUT_KEY = "tests/django/test_without_key.py"
FORMATS = "tests/cli/test_import_formats.py"

DIAGNOSIS: dict[str, tuple[Scenario, ...]] = {
    "Configuration and outages": (
        Scenario(
            "DNS, TLS, a closed port or a proxy fails",
            "the first failure is reported: the host, what happens to the events, what to do",
            (
                f"{DELAY}::TestReports::test_a_failure_is_reported_long_before_delivery_gives_up",
                "tests/http/test_explanation.py",
                "tests/docs/test_troubleshooting.py",
            ),
        ),
        Scenario(
            "one timeout, 429 or 5xx, and then a success",
            "no report; two timeouts or three such answers in a row are reported",
            (
                f"{DELAY}::TestDelay",
                f"{DELAY}::TestReports::test_one_failure_that_heals_is_not_reported",
            ),
        ),
        Scenario(
            "the service is down for an hour",
            "a few reports, not one for each attempt; one record says that the outage is over",
            (
                f"{DELAY}::TestReports::test_an_outage_of_an_hour_gives_few_reports_and_not_one_for_each_retry",
                f"{DELAY}::TestReports::test_the_end_of_an_outage_is_logged_once_for_information",
            ),
        ),
        Scenario(
            "a wrong path in `base_url` (404, 405)",
            "events are kept, and no batch is halved; delivery pauses as for a refused key",
            (
                "tests/delivery/test_scheduler_answers.py::TestRefusals::test_a_wrong_path_keeps_the_events_and_pauses_as_long_as_a_refused_key",
            ),
        ),
        Scenario(
            "this machine's clock is 40 days off, in either direction",
            "the report of the refusal mentions the clock, and so does the doctor",
            (
                "tests/delivery/test_skew.py",
                "tests/checkup/test_service.py",
            ),
        ),
        Scenario(
            "many calls a second have no user",
            "all are counted, with one report a minute",
            ("tests/delivery/test_anonymous.py",),
        ),
        Scenario(
            "a container build, a migration or a task without a key",
            "it continues and says so once; a server does not start",
            (
                f"{WITHOUT_KEY}::test_the_commands_of_a_container_build_go_on",
                f"{WITHOUT_KEY}::test_a_server_does_not_start_and_says_what_to_set",
                f"{WITHOUT_KEY}::TestProcess",
            ),
        ),
        Scenario(
            "the doctor inspects a store while an application uses it",
            "it only reads: nothing is claimed, moved or written",
            (
                "tests/checkup/test_sqlite.py",
                "tests/checkup/test_redis.py",
                "tests/django/test_whisperr_check.py",
            ),
        ),
        Scenario(
            "your code was written for 0.2.1",
            "it works, or fails with an error that says what to write",
            ("tests/unit/test_former_names.py", "tests/docs/test_upgrading.py"),
        ),
    ),
    "Imports": (
        Scenario(
            "Ctrl-C ends a command at any moment, or its reader (`head`) goes away",
            "one line, no traceback; an import says how to continue",
            ("tests/cli/test_interrupts.py",),
        ),
        Scenario(
            "a gzip file of a gigabyte of zeros, an endless line, a file that is cut off",
            "memory stays bounded; complete records are sent",
            (FORMATS,),
        ),
    ),
}
