"""Scenarios of stores: damage, foreign content, losses, full disks, wrong clocks."""

from __future__ import annotations

from scripts.scenarios.scenario import Scenario

FILES = "tests/queue/test_sqlite_files.py"
SQLITE = "tests/queue/test_sqlite_damage.py"
ROOM = "tests/queue/test_sqlite_room.py"
REDIS = "tests/queue/test_redis_damage.py"
FULL = "tests/queue/test_redis_full.py"
FAILING = "tests/queue/test_durable_failures.py::TestFailing"
DURABLE = "tests/stories/test_durable.py"

STORES: dict[str, tuple[Scenario, ...]] = {
    "Damaged and full stores": (
        Scenario(
            "`buffer=` names a file of another program",
            "the file is not changed; events are delivered from memory; a report names the file",
            (
                f"{FILES}::TestForeignFiles",
                f"{FILES}::TestOwnFiles",
                f"{DURABLE}::test_a_wrong_path_costs_no_file_and_no_event",
            ),
        ),
        Scenario(
            "other users can use the SQLite file, or own it",
            "the client refuses it and says what to do",
            (f"{FILES}::TestOwners",),
        ),
        Scenario(
            "another program changes the tables of the SQLite file while it is in use",
            "no call raises; counts are computed again, and every event is delivered",
            (
                f"{SQLITE}::TestState",
                f"{FAILING}::test_an_error_that_no_store_should_raise_is_a_failure_of_the_store",
            ),
        ),
        Scenario(
            "another client damages the keys of a Redis buffer",
            "no call raises; a report names the unusable key, and events wait in memory",
            (
                f"{REDIS}::TestState",
                f"{REDIS}::TestTypes",
                f"{REDIS}::TestLease",
                f"{REDIS}::TestNumbers",
            ),
        ),
        Scenario(
            "random damage (seeded) to a SQLite file or to keys in Redis",
            "nothing raises; each event is delivered once or reported as lost once",
            (
                f"{SQLITE}::test_after_random_damage_every_event_is_delivered_or_counted_as_lost",
                "tests/queue/test_redis_fuzz.py",
            ),
        ),
        Scenario(
            "the SQLite file or the stream contains something that is not an event",
            "it is moved aside with a reason and reported; everything else is delivered",
            (
                f"{SQLITE}::TestRows",
                f"{REDIS}::TestForeignEntries",
                f"{FAILING}::test_what_is_set_aside_because_it_is_no_event_is_reported",
            ),
        ),
        Scenario(
            "events are deleted or trimmed by hand under a full buffer",
            "there is room again: no new event is dropped because of a wrong count",
            (
                f"{SQLITE}::TestState::test_no_event_is_dropped_for_a_sum_that_is_wrong",
                f"{REDIS}::TestSums",
            ),
        ),
        Scenario(
            "the SQLite file is deleted or replaced, or Redis loses its data, while events wait",
            "they are reported once as `lost_in_store`, and none stays held",
            (
                f"{SQLITE}::TestVanished",
                f"{REDIS}::TestVanishedEvents",
                f"{DURABLE}::test_events_that_vanish_with_their_file_are_reported_and_held_no_more",
                "tests/delivery/test_accounting.py::TestLosses::test_events_lost_in_a_store_are_counted_and_reported_in_one_call",
            ),
        ),
        Scenario(
            "Redis has no memory left (`noeviction`)",
            "stored events are delivered and removed; new events wait in memory",
            (FULL,),
        ),
        Scenario(
            "the volume of the SQLite file is full",
            "stored events are delivered once; the file becomes small again",
            (
                ROOM,
                f"{FAILING}::test_a_store_without_room_is_still_emptied",
            ),
        ),
        Scenario(
            "events are delivered, but the client cannot record that",
            "they are not sent again; only the recording is repeated",
            (
                f"{FAILING}::test_what_is_delivered_and_cannot_be_recorded_is_not_sent_again",
                f"{FAILING}::test_what_could_not_be_recorded_is_recorded_when_polling",
            ),
        ),
        Scenario(
            "a store can be read but not written, or fails now and then",
            "`stats().problem` stays until it works; `not_durable` comes at most once a minute",
            (
                f"{FAILING}::test_a_store_that_can_only_be_read_has_not_recovered",
                f"{FAILING}::test_a_failure_that_comes_and_goes_is_reported_once_a_minute",
                "tests/queue/test_redis.py::test_while_the_server_is_down_it_is_never_called_usable",
            ),
        ),
        Scenario(
            "the clock is a month ahead for a moment",
            "no event is dropped as `expired`",
            (
                "tests/queue/test_clock.py",
                "tests/queue/test_sqlite.py::test_a_clock_that_is_far_ahead_for_a_moment_loses_no_outcome_and_no_event",
            ),
        ),
        Scenario(
            "two clients share a store, and one shuts down first",
            "it has counted what the other one delivered until then",
            (f"{DURABLE}::test_after_the_end_a_client_has_counted_what_another_one_delivered",),
        ),
        Scenario(
            "a store has a lease without an end, or an outcome of a newer version",
            "the lease is ignored; the outcome is counted under its own name",
            (
                "tests/queue/test_lease.py::TestLease",
                "tests/delivery/test_accounting.py::TestLosses::test_any_outcome_in_a_store_is_counted",
                "tests/delivery/test_accounting.py::TestLosses::test_the_number_of_unknown_outcomes_is_bounded",
            ),
        ),
        Scenario(
            "the `rediss://` server has a certificate for another host",
            "the client refuses it, and `stats().problem` says so",
            ("tests/queue/test_redis_tls.py",),
        ),
        Scenario(
            "a store is damaged, emptied, filled and restarted under traffic",
            "every loss is reported; accepted = delivered + dropped + held",
            ("tests/faults/test_store_soak.py",),
        ),
    ),
}
