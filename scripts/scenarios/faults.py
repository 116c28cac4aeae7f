"""Scenarios of faults from outside: interruptions, third-party code, the system, the network."""

from __future__ import annotations

from scripts.scenarios.scenario import Scenario

INTERRUPTED = "tests/delivery/test_interrupted.py"
REPORTS = "tests/delivery/test_foreign_reports.py"
PROCESS = "tests/os_processes"
THREADS = f"{PROCESS}/test_main_thread.py"
EXITS = f"{PROCESS}/test_exits.py"
NETWORKS = "tests/stories/test_networks.py"
ROUTES = "tests/http/test_transport_routes.py"
ANSWERS = "tests/delivery/test_scheduler_answers.py"
EARLY = "tests/http/test_early_answers.py"
RESOLVER = "tests/http/test_resolver.py"
REDACTION = "tests/events/test_redaction.py"
GENERAL = "tests/events/test_general.py"

FAULTS: dict[str, tuple[Scenario, ...]] = {
    "Interrupting exceptions": (
        Scenario(
            "a time limit, Ctrl-C or `sys.exit()` interrupts any call at any point",
            "the exception reaches the caller; no lock stays taken; each event is settled once",
            (
                f"{INTERRUPTED}::test_after_a_call_interrupted_anywhere_counts_are_right_and_events_arrive",
                "tests/process/test_mutex.py::test_it_is_free_after_an_interruption_anywhere",
            ),
        ),
        Scenario(
            "such exceptions at random moments, with memory, a SQLite file and Redis",
            "nothing hangs, and the counts are right; `flush()` delivers everything",
            (
                "tests/faults/test_interrupts.py::test_calls_that_are_interrupted_at_random_leave_nothing_undone",
            ),
        ),
        Scenario(
            "a signal handler raises during `shutdown()`",
            "you can call `shutdown()` again; losses are reported once",
            (
                f"{INTERRUPTED}::test_a_shutdown_that_is_interrupted_anywhere_can_be_repeated",
                f"{INTERRUPTED}::test_a_shutdown_that_reports_losses_reports_them_once_when_it_is_interrupted",
            ),
        ),
        Scenario(
            "a signal handler raises during a transaction of the SQLite file",
            "no transaction stays open; each event is stored once",
            ("tests/queue/test_sqlite_interruptions.py",),
        ),
        Scenario(
            "a signal handler raises during a Redis call, even inside redis-py",
            "no connection with half an answer is used again; each event is settled once",
            ("tests/queue/test_redis_interruptions.py",),
        ),
        Scenario(
            "a time limit interrupts the reading of a value, `before_send` or the encoder",
            "the exception reaches the task and is never mistaken for bad data",
            (
                "tests/events/test_interruptions.py",
                "tests/process/test_interruption.py",
            ),
        ),
        Scenario(
            "a time limit interrupts `resolve_user`",
            "the exception reaches the task; nothing is reported",
            (
                "tests/integrations/test_interruptions.py",
                "tests/test_integrations.py::TestUsers::test_a_time_limit_that_ends_the_reading_reaches_the_caller",
                "tests/celery/test_signals.py::test_a_time_limit_that_ends_the_resolver_ends_the_task",
            ),
        ),
        Scenario(
            "a time limit interrupts a request that the calling thread sends",
            "the exception reaches the caller, even a `TimeoutError`; the next request works",
            (
                "tests/http/test_interruptions.py",
                f"{INTERRUPTED}::test_a_limit_that_is_raised_in_a_transport_in_the_calling_thread_reaches_the_caller",
            ),
        ),
    ),
    "Reports": (
        Scenario(
            "`on_error`, or a filter or handler of `logging`, raises",
            "delivery continues; an interruption reaches the calling thread",
            (
                f"{REPORTS}::test_a_log_filter_that_raises_does_not_stop_delivery",
                f"{REPORTS}::test_a_callback_that_raises_does_not_stop_delivery",
                f"{REPORTS}::test_an_interruption_of_a_callback_in_the_calling_thread_reaches_the_caller",
            ),
        ),
        Scenario(
            "`sys.stderr` is closed, or the process has no file descriptors for a while",
            "delivery continues",
            (
                f"{PROCESS}/test_reports.py::test_a_closed_stderr_does_not_stop_delivery",
                f"{PROCESS}/test_reports.py::test_a_process_without_file_descriptors_goes_on_when_it_has_some_again",
            ),
        ),
        Scenario(
            "one client's shutdown fails at the exit",
            "all other clients shut down as usual",
            (
                "tests/process/test_exit.py::test_a_client_whose_shutdown_fails_does_not_keep_the_others_from_theirs",
            ),
        ),
        Scenario(
            "a transport does not return an `Answer`, or a step of delivery fails every time",
            "the client waits after each failure, and floods neither the processor nor the log",
            (
                f"{REPORTS}::test_a_transport_that_returns_no_answer_is_not_called_in_a_loop",
                f"{REPORTS}::test_a_step_that_fails_every_time_neither_spins_nor_fills_the_log",
            ),
        ),
        Scenario(
            "a `__del__` calls `track()` while the interpreter ends",
            "`track()` raises nothing",
            (
                f"{PROCESS}/test_reports.py::test_an_object_that_tracks_when_the_interpreter_ends_raises_nothing",
            ),
        ),
        Scenario(
            "events expire during `flush()`",
            "`flush()` returns after `on_error` was called",
            (f"{REPORTS}::test_a_flush_returns_after_on_error_was_called_for_expired_events",),
        ),
        Scenario(
            "a property's name is an address, a megabyte long, or has control characters",
            "reports show the name's length, never its text",
            (REDACTION,),
        ),
        Scenario(
            "a server echoes the request, or redirects to an address with control characters",
            "the log has the kind and length of the answer; the target is escaped and shortened",
            (
                "tests/http/test_response.py::test_what_is_no_answer_is_named_and_not_repeated",
                "tests/http/test_response.py::test_the_size_of_a_chunk_is_not_repeated",
                "tests/delivery/test_verdict.py::TestMessage",
            ),
        ),
        Scenario(
            "a report or a received request is logged with `repr()`",
            "the log shows neither payload nor key",
            (
                "tests/unit/test_errors.py::TestWhisperrError::test_its_representation_names_every_field_and_has_no_payload",
                "tests/dev/test_server.py::TestAnswers::test_the_representation_of_a_request_has_no_key_and_no_body",
            ),
        ),
        Scenario(
            "the URL of a proxy is wrong, or has a password",
            "no error, log record or variable of a stack frame shows any part of it",
            (
                f"{ROUTES}::TestUnusableProxy::test_no_error_contains_part_of_a_proxy_url",
                f"{ROUTES}::TestUnusableProxy::test_a_failure_behind_a_proxy_does_not_show_its_password",
            ),
        ),
        Scenario(
            "the URL of a Redis buffer is wrong, or has a password",
            "no error, variable of a stack frame or pickle shows any part of it",
            ("tests/queue/test_redis_passwords.py", "tests/django/test_passwords.py"),
        ),
    ),
    "Threads, processes, clocks": (
        Scenario(
            "other threads track after the main thread has ended",
            "delivery continues; on Python 3.12.0 and 3.12.1, in the calling threads",
            (
                f"{THREADS}::test_delivery_goes_on_when_the_main_thread_has_ended",
                "tests/delivery/test_thread_refused.py",
            ),
        ),
        Scenario(
            "a sub-interpreter ends, as at a restart under mod_wsgi, even during a request",
            "its events are delivered, and the process continues",
            (
                f"{THREADS}::test_a_sub_interpreter_ends_after_its_events_are_delivered",
                f"{THREADS}::test_a_sub_interpreter_with_a_request_in_flight_ends_without_killing_the_process",
            ),
        ),
        Scenario(
            "the main thread blocks a signal after the client was created",
            "no thread of the client takes it",
            (
                f"{PROCESS}/test_signals.py::test_a_signal_that_the_main_thread_blocks_later_waits_for_it",
                f"{PROCESS}/test_signals.py::test_the_threads_of_a_local_server_take_no_signal_either",
                "tests/process/test_signals.py",
            ),
        ),
        Scenario(
            "`SIGPIPE` has its default action and the server closes during a large body",
            "the client sees a connection error; the process continues",
            (
                f"{PROCESS}/test_signals.py::test_a_closed_connection_fails_where_sigpipe_would_end_the_process",
                "tests/http/test_sigpipe.py",
            ),
        ),
        Scenario(
            "a child has the process id of its parent, as in a new pid namespace",
            "each sends its own events once, even if C code forked",
            (
                f"{PROCESS}/test_forks.py::test_a_child_with_the_process_id_of_its_parent_sends_only_its_own",
                "tests/process/test_identity.py",
            ),
        ),
        Scenario(
            "the program's files are deleted or replaced after the client was created",
            "events are delivered; if an import fails, that is reported and the events are kept",
            (f"{PROCESS}/test_vanished_files.py",),
        ),
        Scenario(
            "a test freezes the clock while the server hangs",
            "`flush()` and `shutdown()` return at their time limit",
            ("tests/process/test_real_clock.py",),
        ),
        Scenario(
            "DNS resolution hangs",
            "the client uses known addresses; calls and the exit keep their time limits",
            (RESOLVER,),
        ),
        Scenario(
            "several clients shut down without threads, and the server of one hangs",
            "the others get their share of the time",
            (f"{EXITS}::test_a_server_that_hangs_leaves_the_other_clients_their_time_at_exit",),
        ),
        Scenario(
            "the service is down, and many processes or clients end one after the other",
            "the first one retries; each later one makes one short attempt",
            (
                "tests/delivery/test_outage.py",
                f"{EXITS}::test_only_the_first_of_many_processes_pays_for_a_service_that_is_away",
                f"{EXITS}::test_only_the_first_of_many_clients_pays_for_a_service_that_is_away",
            ),
        ),
        Scenario(
            "`shutdown(None)`, or a timeout that is not a number of seconds",
            "only the retries limit `None`; a wrong value raises before anything happens",
            ("tests/process/test_timeout.py",),
        ),
        Scenario(
            "a process is frozen for more than half a minute",
            "its next request opens a new connection",
            (
                "tests/http/test_transport.py::TestIdleConnection",
                "tests/delivery/test_scheduler.py::TestIdleConnection",
            ),
        ),
    ),
    "Network": (
        Scenario(
            "the first address of a host does not answer",
            "the client soon uses the next one, and from then on tries it first",
            (
                "tests/http/test_connector.py",
                f"{NETWORKS}::test_an_address_that_does_not_answer_costs_a_moment",
            ),
        ),
        Scenario(
            "the server refuses while the body is still being sent, and keeps the connection open",
            "read at once: `413` splits the batch or drops the event as `too_large`",
            (
                EARLY,
                f"{NETWORKS}::test_a_refusal_in_the_middle_of_a_large_body_is_heard",
            ),
        ),
        Scenario(
            "a large request over TLS under gevent",
            "the request waits for buffer space; other greenlets run",
            (
                "tests/http/test_gevent.py::test_a_large_request_over_tls_waits_for_room_and_does_not_spin",
            ),
        ),
        Scenario(
            "an answer has a content encoding",
            "the events are counted as the decoded answer says; one that becomes huge is cut",
            (
                "tests/http/test_encoding.py",
                f"{NETWORKS}::test_an_encoded_answer_is_counted_as_it_says",
            ),
        ),
        Scenario(
            "a captive portal answers `200` with a web page",
            "nothing counts as delivered; the report mentions the page",
            (
                f"{NETWORKS}::test_the_page_of_a_captive_portal_delivers_nothing_and_says_so",
                f"{ANSWERS}::TestRefusals::test_a_page_of_a_captive_portal_keeps_the_events_until_the_service_answers",
            ),
        ),
        Scenario(
            "a success answer cannot be read",
            "the events count as delivered, and one record says so",
            (
                f"{NETWORKS}::test_an_answer_that_cannot_be_read_is_told_once_and_loses_nothing",
                "tests/delivery/test_verdict.py::TestUnreadableSuccess",
            ),
        ),
        Scenario(
            "the host in `base_url` ends with a dot",
            "delivery works, with TLS and with a proxy too",
            (
                f"{ROUTES}::TestTls::test_a_dot_at_the_end_of_the_host_is_for_the_resolver_only",
                f"{ROUTES}::TestTls::test_a_dot_at_the_end_of_the_host_does_not_hide_it_from_no_proxy",
            ),
        ),
        Scenario(
            "a proxy is of an unsupported kind, or requires another password",
            "the first request reports it; the events are kept",
            (
                f"{NETWORKS}::test_a_proxy_that_cannot_be_used_is_reported_with_the_first_request",
                f"{ROUTES}::TestPlainProxy::test_a_proxy_that_wants_another_password_costs_no_event",
                "tests/delivery/test_verdict.py::TestMisconfigured",
            ),
        ),
        Scenario(
            "20 of 500 events are bad, and the server refuses whole batches",
            "20 events are dropped, 480 arrive in order",
            (
                f"{NETWORKS}::test_however_many_events_an_older_server_refuses_no_good_one_is_lost",
                "tests/delivery/test_verdict.py::TestDividing",
            ),
        ),
        Scenario(
            "any bytes in place of an answer, from a seed",
            "the client sees an answer or a connection error; time and memory stay bounded",
            ("tests/http/test_response_fuzz.py",),
        ),
        Scenario(
            "a `Decimal` prints as `EUR 19.90`, or a value has methods of its own",
            "the value is encoded as its base type; the batch stays valid JSON",
            (
                f"{GENERAL}::TestSubclasses",
                f"{GENERAL}::test_a_proxy_for_a_string_is_that_string_everywhere",
            ),
        ),
        Scenario(
            "an event refers to a text of 5 MB a thousand times",
            "it is refused as bad input before it takes the memory",
            (
                f"{GENERAL}::test_a_value_that_is_written_too_often_is_refused_before_it_takes_much_memory",
                f"{GENERAL}::test_channels_that_are_repeated_too_often_are_refused_before_each_is_copied",
                f"{REDACTION}::test_a_name_of_a_megabyte_is_not_copied_for_each_value_below_it",
            ),
        ),
    ),
}
