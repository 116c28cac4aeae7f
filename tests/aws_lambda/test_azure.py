"""The decorator of Azure Functions, with the functions that its worker gets from a FunctionApp."""

from __future__ import annotations

import asyncio
import inspect
import typing
from typing import TYPE_CHECKING, Any

import pytest

from whisperr.azure_functions import flush_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from whisperr import Whisperr
    from whisperr.dev import LocalServer

pytest.importorskip("azure.functions")

import azure.functions as func  # after the check that it is there


def get_functions(client: Whisperr) -> dict[str, Callable[..., Any]]:
    """Return what the worker calls, by the names of the functions."""
    app = func.FunctionApp()

    @app.route("report")
    @flush_after
    def report(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
        client.track(req.params["user"], "report_failed")
        return func.HttpResponse("done")

    @app.function_name("later")
    @app.route("report/later")
    @flush_after(timeout=10)
    async def report_later(req: func.HttpRequest) -> func.HttpResponse:
        await asyncio.sleep(0)
        client.track(req.params["user"], "report_failed")
        return func.HttpResponse("done")

    @app.timer_trigger(arg_name="timer", schedule="0 0 3 * * *")
    @flush_after
    def expire(timer: func.TimerRequest) -> None:
        client.track("user_8842", "trial_expired")
        raise ZeroDivisionError

    return {str(one.get_function_name()): one.get_user_function() for one in app.get_functions()}


@pytest.fixture
def functions(client: Whisperr) -> dict[str, Callable[..., Any]]:
    return get_functions(client)


@pytest.fixture
def request_() -> Any:
    return func.HttpRequest("GET", "/api/report", params={"user": "ada"}, body=b"")


class TestAzureFunctions:
    def test_a_function_delivers_before_it_answers(
        self, functions: dict[str, Any], request_: Any, server: LocalServer
    ) -> None:
        assert functions["report"](req=request_, context=None).get_body() == b"done"
        assert [(a.user, a.type) for a in server.arrivals()] == [("ada", "report_failed")]

    def test_an_async_function_as_well(
        self, functions: dict[str, Any], request_: Any, server: LocalServer
    ) -> None:
        assert asyncio.run(functions["later"](req=request_)).get_body() == b"done"
        assert [(a.user, a.type) for a in server.arrivals()] == [("ada", "report_failed")]

    def test_a_function_that_fails_delivers_and_fails(
        self, functions: dict[str, Any], server: LocalServer
    ) -> None:
        with pytest.raises(ZeroDivisionError):
            functions["expire"](timer=None)
        assert [a.type for a in server.arrivals()] == ["trial_expired"]

    def test_the_worker_reads_the_parameters_and_the_kind_of_the_function_itself(
        self, functions: dict[str, Any]
    ) -> None:
        parameters = {
            name: list(inspect.signature(one).parameters) for name, one in functions.items()
        }
        assert parameters == {"report": ["req", "context"], "later": ["req"], "expire": ["timer"]}
        assert typing.get_type_hints(functions["report"])["return"] is func.HttpResponse
        is_async = {name: inspect.iscoroutinefunction(one) for name, one in functions.items()}
        assert is_async == {"report": False, "later": True, "expire": False}

    @pytest.mark.parametrize("decorator", [flush_after, flush_after(timeout=10)])
    def test_above_the_decorators_of_the_app_it_raises(self, decorator: Any) -> None:
        app = func.FunctionApp()

        @app.route("report")
        def report(req: func.HttpRequest) -> func.HttpResponse:
            return func.HttpResponse("done")

        with pytest.raises(TypeError, match="below the decorators of the FunctionApp"):
            decorator(report)
