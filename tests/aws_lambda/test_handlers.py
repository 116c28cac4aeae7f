"""Every kind of function that can be a handler: its work is done before the flush, or refused."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.aws_lambda.conftest import Context
from whisperr import Whisperr, aws_lambda, azure_functions, google_functions
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

DECORATORS: list[Callable[..., Any]] = [
    aws_lambda.flush_after,
    azure_functions.flush_after,
    google_functions.flush_after,
]


KINDS = (
    *("a method", "a class method", "an async method"),
    *("by name", "both by name", "a method, by name"),
)


class TestTheTimeThatIsLeft:
    """A request that hangs would take 10 seconds; the invocation has one left."""

    @pytest.fixture
    def handlers(self, client: Whisperr, server: LocalServer) -> Iterator[dict[str, Any]]:
        server.set_faults(faults.hang(times=1))

        class Handler:
            @aws_lambda.flush_after
            def method(self, event: Any, context: Any) -> None:
                client.track("ada", "report_failed")

            @classmethod
            @aws_lambda.flush_after
            def of_class(cls, event: Any, context: Any) -> None:
                client.track("ada", "report_failed")

            @aws_lambda.flush_after
            async def asynchronous(self, event: Any, context: Any) -> None:
                client.track("ada", "report_failed")

        @aws_lambda.flush_after
        def function(event: Any, context: Any, **more: Any) -> None:
            client.track("ada", "report_failed")

        one = Handler()
        yield {
            "a method": lambda: one.method({}, Context(1)),
            "a class method": lambda: Handler.of_class({}, Context(1)),
            "an async method": lambda: asyncio.run(one.asynchronous({}, Context(1))),
            "by name": lambda: function({}, context=Context(1)),
            "both by name": lambda: function(event={}, context=Context(1), more=object()),
            "a method, by name": lambda: one.method(event={}, context=Context(1)),
        }
        server.close()  # ends the request that hangs
        client.shutdown(0)

    @pytest.mark.parametrize("kind", KINDS)
    def test_it_is_found_wherever_the_context_is(
        self, kind: str, handlers: dict[str, Any], client: Whisperr
    ) -> None:
        began = time.monotonic()
        handlers[kind]()
        assert time.monotonic() - began < 8
        assert client.stats().held == 1

    @pytest.mark.parametrize(
        "context",
        [
            type("Raising", (), {"get_remaining_time_in_millis": lambda _: 1 / 0})(),
            type("Wrong", (), {"get_remaining_time_in_millis": lambda _: "soon"})(),
            type("Hidden", (), {"__getattr__": lambda *_: 1 / 0})(),
            None,
        ],
        ids=["raises", "is no number", "has no attributes", "is missing"],
    )
    def test_a_context_that_does_not_know_it_leaves_the_timeout(
        self, context: Any, client: Whisperr, server: LocalServer
    ) -> None:
        @aws_lambda.flush_after
        def handler(event: Any, context: Any) -> str:
            client.track("ada", "report_failed")
            return "done"

        assert handler({}, context) == "done"
        assert len(server.arrivals()) == 1


@pytest.mark.parametrize("decorator", DECORATORS)
class TestWorkThatIsDoneLater:
    def test_of_a_coroutine_function_below_another_decorator(
        self, decorator: Any, client: Whisperr, server: LocalServer
    ) -> None:
        async def handler(event: Any, context: Any) -> str:
            await asyncio.sleep(0)
            client.track("ada", "report_failed")
            return "done"

        @functools.wraps(handler)
        def plain(*args: Any) -> Any:
            return handler(*args)

        assert asyncio.run(decorator(plain)({}, None)) == "done"
        assert len(server.arrivals()) == 1

    def test_of_an_object_with_an_async_call(
        self, decorator: Any, client: Whisperr, server: LocalServer
    ) -> None:
        class Handler:
            async def __call__(self, event: Any, context: Any) -> str:
                await asyncio.sleep(0)
                client.track("ada", "report_failed")
                return "done"

        handler = decorator(Handler())
        assert inspect.iscoroutinefunction(handler)
        assert asyncio.run(handler({}, None)) == "done"
        assert len(server.arrivals()) == 1

    def test_of_a_partial_coroutine_function(
        self, decorator: Any, client: Whisperr, server: LocalServer
    ) -> None:
        async def handler(prefix: str, event: Any, context: Any) -> None:
            await asyncio.sleep(0)
            client.track("ada", f"{prefix}_failed")

        asyncio.run(decorator(functools.partial(handler, "report"))({}, None))
        assert [a.type for a in server.arrivals()] == ["report_failed"]

    def test_of_a_coroutine_that_fails(
        self, decorator: Any, client: Whisperr, server: LocalServer
    ) -> None:
        async def handler(event: Any, context: Any) -> None:
            client.track("ada", "report_failed")
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            asyncio.run(decorator(handler)({}, None))
        assert len(server.arrivals()) == 1

    def test_of_a_coroutine_under_trio_also_when_it_is_cancelled(
        self, decorator: Any, client: Whisperr, server: LocalServer
    ) -> None:
        trio: Any = pytest.importorskip("trio", reason="trio is not installed")

        @decorator
        async def handler(event: Any, context: Any) -> None:
            client.track("ada", "report_failed")
            await trio.sleep(60)

        async def main() -> None:
            with trio.move_on_after(0.05):
                await handler({}, None)

        trio.run(main)
        assert len(server.arrivals()) == 1

    def test_of_a_generator(self, decorator: Any, client: Whisperr, server: LocalServer) -> None:
        @decorator
        def handler(event: Any, context: Any) -> Iterator[int]:
            yield 1
            client.track("ada", "report_failed")
            yield 2

        assert list(handler({}, None)) == [1, 2]
        assert len(server.arrivals()) == 1

    def test_of_a_generator_that_is_closed_early(
        self, decorator: Any, client: Whisperr, server: LocalServer
    ) -> None:
        @decorator
        def handler(event: Any, context: Any) -> Iterator[int]:
            client.track("ada", "report_failed")
            yield 1
            yield 2

        stream = handler({}, None)
        assert next(stream) == 1
        stream.close()
        assert len(server.arrivals()) == 1

    def test_of_an_async_generator(
        self, decorator: Any, client: Whisperr, server: LocalServer
    ) -> None:
        @decorator
        async def handler(event: Any, context: Any) -> AsyncIterator[int]:
            yield 1
            await asyncio.sleep(0)
            client.track("ada", "report_failed")
            yield 2

        async def main() -> list[int]:
            return [value async for value in handler({}, None)]

        assert asyncio.run(main()) == [1, 2]
        assert len(server.arrivals()) == 1

    def test_a_coroutine_that_nothing_runs_to_its_end_can_be_closed(
        self, decorator: Any, client: Whisperr
    ) -> None:
        @decorator
        async def handler(event: Any, context: Any) -> None:
            await asyncio.sleep(1)

        async def main() -> None:
            started = handler({}, None)
            started.send(None)
            started.close()

        asyncio.run(main())


@pytest.mark.parametrize("decorator", DECORATORS)
class TestRefusals:
    @pytest.mark.parametrize(
        ("given", "text"),
        [
            (classmethod(print), "belongs below @classmethod"),
            (staticmethod(print), "belongs below @staticmethod"),
            (dict, "got the class dict"),
            (5, "got an object of type int"),
        ],
    )
    def test_what_is_no_function_is_refused_with_a_sentence(
        self, decorator: Any, given: Any, text: str
    ) -> None:
        with pytest.raises(TypeError, match=text):
            decorator(given)

    @pytest.mark.parametrize("timeout", ["5", -1, float("nan")])
    def test_a_wrong_timeout_is_refused_at_the_decoration(
        self, decorator: Any, timeout: Any
    ) -> None:
        with pytest.raises((TypeError, ValueError), match="timeout must be"):
            decorator(timeout=timeout)
