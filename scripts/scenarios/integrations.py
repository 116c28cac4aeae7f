"""Scenarios of frameworks, functions, the local server and the command line."""

from __future__ import annotations

from scripts.scenarios.scenario import Scenario

DJANGO = "tests/django"
MIDDLEWARE = "tests/asgi/test_middleware.py"
SERVERS = "tests/asgi/test_servers.py"
FRAMEWORKS = "tests/asgi/test_frameworks.py"
WAITING = "tests/integrations/test_waiting_events.py"
LOOPS = "tests/stories/test_asyncio.py"
HANDLERS = "tests/aws_lambda/test_handlers.py"
WRONG = "tests/cli/test_wrong_files.py"
API = "tests/dev/test_api.py"

INTEGRATIONS: dict[str, tuple[Scenario, ...]] = {
    "Django": (
        Scenario(
            "a middleware sets `request.user` to the lazy user of a token, in an async view",
            "the event is sent for `request.user`, never for the user of the session",
            (f"{DJANGO}/test_whose_user.py",),
        ),
        Scenario(
            "an async view has a synchronous `resolve_user`",
            "it runs in a thread, where it may use the database",
            (
                f"{DJANGO}/test_whose_user.py::TestSyncResolver",
                f"{DJANGO}/test_async_users.py::TestResolver",
            ),
        ),
        Scenario(
            "an outbox row ends the caller's transaction (full disk, deadlock, serialization)",
            "the caller gets the database's error; nothing of the transaction is committed",
            (f"{DJANGO}/test_outbox_transactions.py",),
        ),
        Scenario(
            "a time limit interrupts the writing of an outbox row or the reading of a user",
            "the exception reaches the caller; the transaction continues, with or without the row",
            (f"{DJANGO}/test_interruptions.py",),
        ),
        Scenario(
            "an outbox row is not an event: text, broken JSON, a damaged date, a gigabyte",
            "it becomes a dead letter with a reason; relay, command and admin keep working",
            (
                f"{DJANGO}/test_damaged_rows.py",
                f"{DJANGO}/test_relay.py::TestCommand::test_once_ends_where_rows_are_no_events",
            ),
        ),
        Scenario(
            "the outbox is not in the default database",
            "the admin, the relay and the commands show and deliver its rows",
            (f"{DJANGO}/test_outbox_database.py",),
        ),
        Scenario(
            "REST framework or django-ninja authenticates a user whom the middleware cannot see",
            "the event is sent for that user, never for the user of the session",
            (f"{DJANGO}/test_rest.py", f"{DJANGO}/test_ninja.py"),
        ),
        Scenario(
            "django-tenants keeps the users of each tenant in a schema",
            "the rows of all tenants are in one outbox, which no tenant's admin shows",
            (f"{DJANGO}/test_tenants.py",),
        ),
        Scenario(
            "settings lose events, or show a password",
            "a system check names each of them",
            (f"{DJANGO}/test_checks.py",),
        ),
    ),
    "ASGI and async": (
        Scenario(
            'two concurrent requests share one `scope["state"]` (hypercorn up to 0.17.3)',
            "each event has the user of its own request",
            (
                f"{MIDDLEWARE}::TestTheStateOfTheServer",
                f"{FRAMEWORKS}::test_a_middleware_around_ours_reads_what_the_endpoint_left",
            ),
        ),
        Scenario(
            "more events wait for their user than the queue may hold",
            "the newest are dropped at once as `queue_full`; the others are delivered",
            (f"{WAITING}::TestBounds", "tests/delivery/test_deferrals.py"),
        ),
        Scenario(
            "a process ends while events wait for their user or a commit",
            "events that get their user in time are delivered; the rest is reported as `shutdown`",
            (
                f"{WAITING}::TestTheEnd",
                f"{SERVERS}::test_an_event_whose_user_is_still_being_read_at_the_end_is_delivered",
            ),
        ),
        Scenario(
            "an asynchronous `resolve_user` reads a context variable",
            "it sees the value at the time of the call to `track()`",
            (
                f"{WAITING}::TestContexts",
                f"{FRAMEWORKS}::test_an_async_resolver_runs_in_the_context_of_the_call_of_any_endpoint",
            ),
        ),
        Scenario(
            "the middleware is in a mounted application, which has no lifespan",
            "its first request logs that nothing is delivered at the end, and which line to change",
            (
                f"{MIDDLEWARE}::TestWithoutALifespan",
                f"{SERVERS}::TestServers::test_a_mounted_application_says_that_nothing_is_delivered_at_the_end",
                f"{SERVERS}::TestServers::test_wrapped_as_it_says_the_mounted_application_delivers",
            ),
        ),
        Scenario(
            "hypercorn with trio, or any trio program",
            "the lifespan delivers; `aflush()` and `ashutdown()` do not block the loop",
            (
                f"{LOOPS}::TestTrio",
                f"{MIDDLEWARE}::TestTrio",
                f"{SERVERS}::TestServers::test_what_waits_is_delivered_before_the_server_ends",
            ),
        ),
        Scenario(
            "Redis hangs while an event loop tracks",
            "no call waits for Redis; every event is delivered when Redis answers again",
            (f"{LOOPS}::test_a_redis_that_hangs_does_not_block_the_loop",),
        ),
        Scenario(
            "the loop's default executor is full or shut down",
            "`aflush()` keeps its time limit",
            (
                f"{LOOPS}::test_aflush_keeps_its_bound_while_the_executor_of_the_loop_is_full",
                f"{LOOPS}::test_both_work_after_the_executor_of_the_loop_was_shut_down",
                "tests/process/test_event_loop.py",
            ),
        ),
        Scenario(
            "`wait_for(aflush())` times out",
            "the loop ends at once, and no thread is left",
            (
                f"{LOOPS}::test_a_loop_ends_at_once_after_cancelled_waits_and_their_threads_end",
                f"{LOOPS}::test_a_cancelled_ashutdown_still_ends_the_client",
            ),
        ),
        Scenario(
            "the key is missing under uvicorn or hypercorn",
            "the server does not start and says why",
            (
                f"{MIDDLEWARE}::TestStart",
                f"{SERVERS}::TestServers::test_without_a_key_the_server_does_not_start_and_says_why",
            ),
        ),
        Scenario(
            "`Tracker` in a websocket route",
            "it works as in any route; waiting events are queued before the next message",
            (
                f"{FRAMEWORKS}::TestFastApi::test_a_websocket_tracks_through_the_same_dependency",
                f"{MIDDLEWARE}::TestConnections",
            ),
        ),
    ),
    "Functions": (
        Scenario(
            "`flush_after` on a method, or called with `context=`",
            "it stops before the invocation runs out of time",
            (f"{HANDLERS}::TestTheTimeThatIsLeft",),
        ),
        Scenario(
            "`flush_after` on a wrapped coroutine function, an async call or a generator",
            "it flushes when the work is done",
            (f"{HANDLERS}::TestWorkThatIsDoneLater",),
        ),
        Scenario(
            "`flush_after` on something that is not a function",
            "it raises an error that says what is wrong",
            (f"{HANDLERS}::TestRefusals",),
        ),
    ),
    "Local server and command line": (
        Scenario(
            "a website asks the local server to wait, or for events",
            "the request is refused; no number keeps a core busy",
            (
                f"{API}::test_a_number_that_is_not_finite_or_not_in_its_bounds_is_refused",
                f"{API}::test_no_request_of_another_site_is_answered_even_without_an_origin",
                f"{API}::test_a_wait_for_what_is_no_number_is_refused",
                "tests/dev/test_server.py::TestAnswers::test_headers_are_checked_before_the_body",
            ),
        ),
        Scenario(
            "the local server receives identifies of a megabyte, or large headers",
            "its memory stays bounded: it drops the oldest",
            ("tests/dev/test_sizes.py",),
        ),
        Scenario(
            "texts of a server or an event contain control characters",
            "`whisperr tail` and `whisperr dev` show them escaped and shortened",
            (
                "tests/dev/test_tail.py::TestOddServers::test_what_is_no_local_server_is_one_line_of_error",
                "tests/dev/test_tail.py::TestOddServers::test_no_text_of_an_arrival_reaches_the_terminal_raw",
                "tests/dev/test_terminal.py::test_fields_of_a_megabyte_are_shortened",
            ),
        ),
        Scenario(
            "the reader of the output of `whisperr dev` goes away",
            "the server keeps answering",
            (
                "tests/dev/test_tail.py::TestOddServers::test_a_server_goes_on_when_nobody_reads_what_it_prints",
            ),
        ),
        Scenario(
            "other users can use a `--store` file or a checkpoint, or it is another file of yours",
            "the command refuses it with one line, and does not change it",
            (f"{WRONG}::TestCheckpoint", f"{WRONG}::TestStore"),
        ),
        Scenario(
            "a command gets a wrong file, a damaged checkpoint, an odd address or a closed output",
            "one line of error and an exit code, never a traceback",
            (
                f"{WRONG}::TestFiles",
                f"{WRONG}::TestStreams",
                "tests/cli/test_doctor_odd.py",
            ),
        ),
        Scenario(
            "names in an arrival are Python code, and you copy it as Python",
            "the copy is data: running it runs nothing else",
            ("tests/browser/test_detail.py::TestCopies::test_no_name_of_an_arrival_is_ever_code",),
        ),
    ),
}
