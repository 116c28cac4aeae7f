"""Scenarios of a client's life: forks, hosts, calls within calls, exits, a failing server."""

from __future__ import annotations

from scripts.scenarios.scenario import Scenario

FORKS = "tests/os_processes/test_forks.py"
CALLS = "tests/os_processes/test_interruptions.py"
EXITS = "tests/os_processes/test_exits.py"
THREAD = "tests/delivery/test_thread.py"
FAULTS = "tests/http/test_transport_faults.py"
ROUTES = "tests/http/test_transport_routes.py"
PROXY = "tests/faults/test_proxy.py"
STORIES = "tests/stories"
HOSTS = "tests/hosts"
CHILDREN = "tests/os_processes/test_multiprocessing.py"
LOOPS = "tests/stories/test_asyncio.py"


LIFECYCLE: dict[str, tuple[Scenario, ...]] = {
    "Forks": (
        Scenario(
            "200 forks while other threads track",
            "no deadlock; events of the child and of the parent arrive, each once",
            (f"{FORKS}::test_two_hundred_forks_lose_and_double_nothing",),
        ),
        Scenario(
            "a fork while the delivery thread is importing a module",
            "the fork waits for the import; the child delivers its events",
            (f"{FORKS}::test_a_fork_during_an_import_leaves_the_child_complete_modules",),
        ),
        Scenario(
            "a fork of a fork",
            "each process delivers its own events",
            (f"{FORKS}::test_a_fork_of_a_fork_delivers_each_its_own",),
        ),
        Scenario(
            "a fork after the client was shut down",
            "calls in the child are reported as `closed`",
            (f"{FORKS}::test_a_child_of_a_client_that_was_shut_down_reports_calls_as_closed",),
        ),
        Scenario(
            "your code pickles or copies a client",
            "the client refuses, with an error that says what to do instead",
            (
                "tests/unit/test_secret.py::test_a_client_and_a_key_are_neither_pickled_nor_copied",
                f"{CHILDREN}::test_a_client_as_an_argument_is_refused_with_a_hint",
            ),
        ),
    ),
    "Servers and workers": (
        Scenario(
            "gunicorn 27 (sync, gthread, gevent; with and without `--preload`)",
            "events of a request arrive once, even if the worker is stopped right after it",
            (
                f"{HOSTS}/test_gunicorn.py::test_events_of_requests_arrive_once_after_a_graceful_stop",
                f"{HOSTS}/test_gunicorn.py::test_replaced_workers_deliver_while_the_host_keeps_running",
                f"{HOSTS}/test_gunicorn.py::test_a_reload_of_the_host_loses_nothing",
            ),
        ),
        Scenario(
            "uvicorn, one and several workers, stopped by SIGTERM and Ctrl-C",
            "a lifespan that awaits `ashutdown()` delivers the events",
            (f"{HOSTS}/test_uvicorn.py::test_a_lifespan_that_shuts_down_delivers_once",),
        ),
        Scenario(
            "uvicorn without a lifespan",
            "the last events are lost; those older than `flush_interval` have arrived",
            (
                f"{HOSTS}/test_uvicorn.py::test_without_a_lifespan_the_last_events_are_lost_on_sigterm",
                f"{HOSTS}/test_uvicorn.py::test_without_a_lifespan_events_older_than_the_interval_have_arrived",
            ),
        ),
        Scenario(
            "uWSGI with a master that forks, with and without `--enable-threads`",
            "a graceful stop delivers the events; without threads, a warning names the option",
            (f"{HOSTS}/test_uwsgi.py",),
        ),
        Scenario(
            "Celery, prefork",
            "the signal `worker_process_shutdown` delivers them, or `flush_interval` does",
            (f"{HOSTS}/test_celery.py",),
        ),
        Scenario(
            "RQ and Dramatiq",
            "a flush in the job of RQ, or the stop of the Dramatiq worker, delivers the events",
            (f"{HOSTS}/test_queues.py",),
        ),
        Scenario(
            "a program runs under `gevent.monkey.patch_all()`",
            "events are delivered; a call that waits blocks only its own greenlet",
            (f"{HOSTS}/test_gevent.py",),
        ),
        Scenario(
            "43 programs, servers and workers receive `SIGTERM` while an event waits",
            "it arrives, alone or with the lines of [the table](../delivery/processes.md)",
            (f"{HOSTS}/test_trials.py",),
        ),
        Scenario(
            "waitress; `SIGTERM` without a handler; `SIGKILL`",
            "not covered: the last events are lost; those older than `flush_interval` have arrived",
            (
                f"{HOSTS}/test_plain.py::test_events_older_than_the_interval_have_arrived",
                f"{HOSTS}/test_plain.py::test_the_last_events_are_lost",
                f"{HOSTS}/test_gunicorn.py::test_a_killed_worker_has_delivered_events_older_than_the_interval",
            ),
        ),
        Scenario(
            "children of `multiprocessing` with fork, spawn and forkserver",
            "their events arrive when they end normally",
            (
                f"{CHILDREN}::test_events_of_children_arrive_at_their_normal_end",
                f"{CHILDREN}::test_every_start_method_of_the_platform_is_tested",
            ),
        ),
    ),
    "Calls that interrupt calls": (
        Scenario(
            "a signal handler interrupts `track()` and calls it",
            "no hang; everything arrives once",
            (f"{CALLS}::test_a_signal_handler_that_interrupts_track_may_track",),
        ),
        Scenario(
            "garbage is collected inside `track()`, and a `__del__` calls it",
            "no hang; everything arrives once",
            (f"{CALLS}::test_a_collection_inside_track_may_track",),
        ),
        Scenario(
            "`on_error` and `before_send` call the client",
            "no hang; `flush()` from `on_error` does not wait for itself",
            (
                f"{CALLS}::test_on_error_and_before_send_may_call_the_client",
                "tests/unit/test_client_reports.py::TestOnError::test_on_error_may_call_any_method",
                f"{THREAD}::TestWithoutThreads::test_a_callback_that_flushes_does_not_wait_for_itself",
            ),
        ),
        Scenario(
            "`flush()` or `shutdown()` in a signal handler during `flush()`",
            "no hang; both calls wait for the same delivery",
            ("tests/process/test_exit.py::TestSignals",),
        ),
        Scenario(
            "a thread that outlives the main thread",
            "its events are delivered",
            (f"{CALLS}::test_a_thread_that_outlives_the_main_thread_may_track",),
        ),
        Scenario(
            "an `atexit` function of yours tracks, before or after ours runs",
            "the event is delivered, or reported as `closed`",
            (f"{CALLS}::test_an_event_of_an_exit_handler_is_delivered_or_reported",),
        ),
        Scenario(
            "third-party code ends the delivery thread",
            "nothing is lost; the next event or flush starts the thread again",
            (
                "tests/delivery/test_pipeline.py::TestFlush::test_what_ends_the_thread_loses_nothing",
            ),
        ),
    ),
    "Flushes": (
        Scenario(
            "`flush()` from 8 threads at once",
            "one delivery serves all of them",
            (
                "tests/delivery/test_pipeline.py::TestFlush::test_eight_at_once_share_one_delivery",
                f"{LOOPS}::test_eight_threads_that_flush_share_their_deliveries",
                f"{LOOPS}::test_on_error_may_flush_while_threads_flush",
            ),
        ),
        Scenario(
            "`flush()` during steady traffic",
            "events tracked meanwhile do not prolong the flush",
            (
                "tests/delivery/test_pipeline.py::TestFlush::test_events_tracked_meanwhile_do_not_prolong_it",
            ),
        ),
        Scenario(
            "`aflush()` inside a running event loop",
            "the loop keeps running; a cancelled task loses nothing",
            (
                f"{LOOPS}::test_aflush_leaves_the_loop_free_while_it_waits",
                f"{LOOPS}::test_a_cancelled_aflush_loses_nothing",
            ),
        ),
    ),
    "Exits": (
        Scenario(
            "1, 2,000 and 10,000 events held, a healthy server",
            "all are delivered by the end of the process",
            (f"{EXITS}::test_events_held_at_exit_are_delivered",),
        ),
        Scenario(
            "the same, with a server that hangs, drips, fails, limits the rate or refuses",
            "the exit takes at most 10 seconds; the remaining events are reported with their count",
            (f"{EXITS}::test_no_server_can_delay_the_exit_beyond_its_bound",),
        ),
        Scenario(
            "`flush(1)` and `shutdown(1)` with a server that hangs",
            "both return in about a second",
            (f"{EXITS}::test_a_timeout_is_kept_against_a_hanging_server",),
        ),
        Scenario(
            "a client is garbage-collected before the exit, alone or in a cycle",
            "its events are delivered by the end of the process",
            (
                f"{EXITS}::test_clients_collected_before_exit_have_delivered",
                f"{EXITS}::test_a_client_collected_in_a_cycle_has_delivered_at_exit",
            ),
        ),
        Scenario(
            "threads can no longer start (Python 3.12 and newer, at exit)",
            "the calling thread delivers",
            (f"{THREAD}::TestWithoutThreads",),
        ),
        Scenario(
            "your SIGTERM handler calls `shutdown()`",
            "the exit waits only once",
            (f"{CALLS}::test_a_sigterm_handler_that_shuts_down_waits_only_once",),
        ),
    ),
    "Between client and server": (
        Scenario(
            "latency, drip, truncation, half-close, reset, black hole, lost answers, refusals",
            "every accepted event arrives once, in order, and is counted",
            ("tests/faults/test_soak.py::test_everything_arrives_once_and_in_order",),
        ),
        Scenario(
            "each of these faults alone",
            "the proxy injects exactly this fault",
            (
                f"{PROXY}::TestBothWays",
                f"{PROXY}::test_a_lost_answer_is_lost_after_the_server_accepted",
                f"{PROXY}::test_connections_are_refused_for_a_while",
            ),
        ),
        Scenario(
            "any sequence of calls, answers, time, forks and ends",
            "accepted = delivered + dropped + held; order and ids do not change",
            ("tests/delivery/test_scheduler_machine.py", "tests/queue/test_queue_machine.py"),
        ),
        Scenario(
            "the server stays down after the last retry",
            "the client keeps the events and delivers the same bytes later",
            (
                f"{STORIES}/test_conformance.py::TestAnswers::test_kept_events_are_delivered_later_with_the_same_bytes",
                f"{STORIES}/test_losses.py::test_a_pause_makes_no_request_for_new_events",
            ),
        ),
        Scenario(
            "more events than the queue holds",
            "the newest events stay; one report sums up the loss",
            (
                f"{STORIES}/test_losses.py::test_a_full_queue_keeps_the_newest_events_and_summarises_the_loss",
            ),
        ),
        Scenario(
            "the server refuses one event of 500",
            "499 events are delivered, one is reported",
            (
                f"{STORIES}/test_losses.py::test_one_event_refused_by_an_older_server_is_the_only_loss",
            ),
        ),
    ),
    "Bad bytes": (
        Scenario(
            "values, keys, ids and names of any type and depth",
            "`track()` never raises; the strict local server accepts whatever `track()` accepts",
            (f"{STORIES}/test_bad_bytes.py",),
        ),
        Scenario(
            "an answer is garbage, huge or broken, or has endless headers",
            "it counts as no answer; time and memory stay bounded",
            (f"{FAULTS}::TestOddAnswers", f"{FAULTS}::TestDeadline"),
        ),
    ),
    "Security": (
        Scenario(
            "the key could appear in logs, texts, exceptions or tracebacks",
            "it is never shown",
            (
                "tests/unit/test_secret.py",
                f"{FAULTS}::TestSecrecy",
                f"{STORIES}/test_losses.py::test_no_report_or_log_contains_the_key_or_a_payload",
                "tests/unit/test_options.py::TestKey",
            ),
        ),
        Scenario(
            "the server answers with a redirect",
            "the client does not follow it and keeps the events",
            (
                f"{STORIES}/test_conformance.py::TestAnswers::test_a_redirect_is_not_followed_and_events_are_kept",
            ),
        ),
        Scenario(
            "a certificate is untrusted, or for another host",
            "the client refuses it before it sends the key, and tries again later",
            (f"{ROUTES}::TestTls",),
        ),
        Scenario(
            "the key or the address contains line ends",
            "creating the client fails",
            (
                "tests/unit/test_address.py::TestParts::test_no_part_can_end_a_line_of_a_request",
                "tests/unit/test_secret.py::test_what_is_wrong_with_a_key_is_said",
            ),
        ),
    ),
}
