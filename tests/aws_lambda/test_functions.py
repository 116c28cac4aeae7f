"""The decorators of AWS Lambda, Google Cloud Functions and Azure Functions."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.aws_lambda.conftest import Context
from tests.hosted import BOUND, EXAMPLES
from whisperr import Whisperr, aws_lambda, azure_functions, google_functions
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from collections.abc import Callable


DECORATORS: list[Callable[..., Any]] = [
    aws_lambda.flush_after,
    aws_lambda.flush_after(timeout=60, margin=1),
    azure_functions.flush_after,
    azure_functions.flush_after(timeout=60),
    google_functions.flush_after,
    google_functions.flush_after(timeout=60),
]


@pytest.mark.parametrize("decorator", DECORATORS)
class TestAll:
    def test_what_was_tracked_has_arrived_when_the_handler_returns(
        self, decorator: Any, client: Whisperr, server: LocalServer
    ) -> None:
        @decorator
        def handler(event: Any, context: Any) -> str:
            client.track(event["user"], "report_failed")
            return "done"

        assert handler({"user": "ada"}, Context(300)) == "done"
        assert [a.user for a in server.arrivals()] == ["ada"]
        assert handler.__name__ == "handler"

    def test_an_async_handler_as_well(
        self, decorator: Any, client: Whisperr, server: LocalServer
    ) -> None:
        @decorator
        async def handler(event: Any, context: Any) -> str:
            await asyncio.sleep(0)
            client.track(event["user"], "report_failed")
            return "done"

        assert asyncio.run(handler({"user": "ada"}, Context(300))) == "done"
        assert [a.user for a in server.arrivals()] == ["ada"]

    def test_a_handler_that_fails_delivers_and_fails(
        self, decorator: Any, client: Whisperr, server: LocalServer
    ) -> None:
        @decorator
        def handler(event: Any, context: Any) -> None:
            client.track(event["user"], "report_failed")
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            handler({"user": "ada"}, None)
        assert len(server.arrivals()) == 1

    def test_every_client_of_the_process_delivers(
        self, decorator: Any, client: Whisperr, server: LocalServer
    ) -> None:
        with Whisperr("wrk_other", base_url=server.url, flush_interval=3600) as other:

            @decorator
            def handler(event: Any) -> None:
                client.track("ada", "report_failed")
                other.track("grace", "report_failed")

            handler({})
            assert {a.user for a in server.arrivals()} == {"ada", "grace"}


@pytest.mark.parametrize(
    ("decorator", "context"),
    [
        (aws_lambda.flush_after, Context(1.0)),
        (aws_lambda.flush_after, Context(0.1)),
        (aws_lambda.flush_after(timeout=0.5), Context(900)),
        (aws_lambda.flush_after(margin=899.5), Context(900)),
        (azure_functions.flush_after(timeout=0.5), None),
        (google_functions.flush_after(timeout=0.5), None),
    ],
)
def test_a_server_that_hangs_takes_no_more_than_the_time_that_is_left(
    decorator: Any, context: Any, client: Whisperr, server: LocalServer
) -> None:
    server.set_faults(faults.hang(times=1))

    @decorator
    def handler(event: Any, context: Any) -> None:
        client.track("ada", "report_failed")

    began = time.monotonic()
    handler({}, context)
    assert time.monotonic() - began < 8  # the request itself would take 10
    assert client.stats().held == 1
    server.close()  # ends the request that hangs
    client.shutdown(0)


def test_what_was_left_arrives_with_the_next_invocation(
    client: Whisperr, server: LocalServer
) -> None:
    server.set_faults(faults.status(503, times=1))

    @aws_lambda.flush_after
    def handler(event: Any, context: Any) -> None:
        if event:
            client.track("ada", "report_failed")

    handler({"user": "ada"}, Context(300))
    assert server.arrivals(status="accepted") == []
    handler({}, Context(300))
    assert len(server.arrivals(status="accepted")) == 1


class TestSnapStart:
    """Lambda's own package; a fork plays the part of the copies of a snapshot."""

    @pytest.fixture
    def hooks(self) -> Any:
        package = pytest.importorskip(
            "snapshot_restore_py", reason="snapshot_restore_py is not installed"
        )
        return [
            [hook for hook, *_ in registry if hook.__module__ == "whisperr.aws_lambda"]
            for registry in (package._before_snapshot_registry, package._after_restore_registry)
        ]

    def test_what_initialization_tracked_is_delivered_before_the_snapshot(
        self, hooks: Any, client: Whisperr, server: LocalServer
    ) -> None:
        ((before,), (after,)) = hooks
        client.track("ada", "app_loaded")
        before()
        assert len(server.arrivals()) == 1
        after()
        client.track("ada", "report_failed")
        assert client.flush(BOUND)
        assert [a.type for a in server.arrivals()] == ["app_loaded", "report_failed"]

    def test_no_two_copies_of_a_snapshot_use_the_same_ids(
        self, hooks: Any, client: Whisperr
    ) -> None:
        ((before,), (after,)) = hooks
        now = time.time_ns()
        client._get_pipeline().encoder._clock._now = lambda: (
            now
        )  # not even the second is another one
        ids = [client.track("ada", "app_loaded")]
        before()
        ids.append(client.track("ada", "tracked_by_a_later_hook"))
        after()
        ids.append(client.track("ada", "report_failed"))
        assert len({one[:16] for one in ids if one}) == 3


def test_the_example_runs_as_a_program(server: LocalServer) -> None:
    given = {"WHISPERR_API_KEY": "wrk_test", "WHISPERR_BASE_URL": server.url}
    command = [sys.executable, str(EXAMPLES / "lambda_function.py")]
    subprocess.run(command, check=True, timeout=BOUND, env={**os.environ, **given})
    (arrival,) = server.arrivals()
    assert (arrival.user, arrival.type) == ("user_8842", "payment_failed")


class TestFunctionsFramework:
    def test_an_http_function_delivers_before_it_answers(
        self, client: Whisperr, server: LocalServer, tmp_path: Any
    ) -> None:
        framework = pytest.importorskip(
            "functions_framework", reason="functions-framework is not installed"
        )
        source = tmp_path / "main.py"
        source.write_text(
            "import functions_framework\n"
            "from whisperr import Whisperr\n"
            "from whisperr.google_functions import flush_after\n"
            f"client = Whisperr('wrk_test', base_url={server.url!r}, flush_interval=3600)\n"
            "@functions_framework.http\n"
            "@flush_after\n"
            "def report(request):\n"
            "    client.track(request.args['user'], 'report_failed')\n"
            "    return 'done'\n"
            "@functions_framework.cloud_event\n"
            "@flush_after\n"
            "def stored(event):\n"
            "    client.track(event.data['user'], 'file_stored')\n"
        )
        browser = framework.create_app("report", str(source)).test_client()
        assert browser.get("/?user=ada").text == "done"
        assert [a.user for a in server.arrivals()] == ["ada"]
        browser = framework.create_app("stored", str(source)).test_client()
        headers = {"ce-id": "1", "ce-source": "test", "ce-type": "t", "ce-specversion": "1.0"}
        assert browser.post("/", headers=headers, json={"user": "grace"}).status_code == 200
        assert [a.user for a in server.arrivals()] == ["ada", "grace"]
