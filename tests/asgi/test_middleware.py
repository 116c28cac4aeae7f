"""The middleware alone: plain ASGI, no framework."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from whisperr import InvalidEvent, Whisperr
from whisperr.asgi import RequestTracker, WhisperrMiddleware, flush_on_shutdown
from whisperr.testing import capture

if TYPE_CHECKING:
    from collections.abc import Callable

    from whisperr import WhisperrError
    from whisperr.dev import LocalServer

UNTOUCHED = object()


async def receive() -> Any:
    raise AssertionError("it asks the server")


async def send(message: Any) -> None:
    raise AssertionError("it answers the server")


def ask(
    view: Callable[[RequestTracker], Any], client: Any, resolve_user: Any = None, **scope: Any
) -> Any:
    """Run one request through the middleware; return what the view returned."""
    answer: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found = view(scope["state"]["whisperr"])
        answer.append(await found if asyncio.iscoroutine(found) else found)

    middleware = WhisperrMiddleware(app, client, resolve_user=resolve_user)
    asyncio.run(middleware({"type": "http", **scope}, receive, send))
    return answer[0]


async def async_ada(scope: Any) -> str:
    await asyncio.sleep(0)
    return "ada"


def never(scope: Any) -> str:
    raise AssertionError("the user was read")


def raising(scope: Any) -> str:
    raise LookupError("secret of a user")


async def async_raising(scope: Any) -> str:
    raise LookupError("secret of a user")


def get_reports(client: Whisperr, errors: list[WhisperrError]) -> list[str]:
    client.shutdown()
    return list(dict.fromkeys(error.message.partition(" (at ")[0] for error in errors))


def sent(client: Whisperr, server: LocalServer) -> list[tuple[str | None, str | None]]:
    client.flush()
    return [(a.user, a.type) for a in server.arrivals()]


def queued(client: Whisperr) -> int:
    """Return how many events wait for delivery, and no more for their user."""
    return len(client._get_pipeline().queue)


class TestUsers:
    def test_the_user_is_the_one_that_the_resolver_names(
        self, client: Whisperr, server: LocalServer
    ) -> None:
        def view(whisperr: RequestTracker) -> str | None:
            whisperr.identify(traits={"plan": "pro"})
            return whisperr.track("plan_upgraded", {"seats": 3})

        message_id = ask(view, client, lambda scope: scope["user_pk"], user_pk=8842)
        assert sent(client, server) == [("8842", None), ("8842", "plan_upgraded")]
        event = server.arrivals()[1].body
        assert event["context"]["$message_id"] == message_id
        assert event["properties"] == {"seats": 3}

    def test_the_user_is_read_at_each_call(self, client: Whisperr, server: LocalServer) -> None:
        people = iter(["ada", "grace"])

        def view(whisperr: RequestTracker) -> None:
            whisperr.track("logged_out")
            whisperr.track("logged_in")

        ask(view, client, lambda scope: next(people))
        assert sent(client, server) == [("ada", "logged_out"), ("grace", "logged_in")]

    def test_nothing_is_read_when_nothing_is_tracked(self, client: Whisperr) -> None:
        assert ask(lambda whisperr: 1, client, never) == 1

    def test_nothing_is_read_for_a_disabled_client(self) -> None:
        off = Whisperr(disabled=True)

        async def view(whisperr: RequestTracker) -> list[Any]:
            whisperr.identify(email="ada@example.com")
            await whisperr.aidentify(email="ada@example.com")
            return [whisperr.track("plan_upgraded"), await whisperr.atrack("plan_upgraded")]

        assert ask(view, off, never) == [None, None]

    def test_for_an_anonymous_visitor_nothing_is_sent(
        self, client: Whisperr, server: LocalServer, errors: list[WhisperrError]
    ) -> None:
        async def view(whisperr: RequestTracker) -> list[Any]:
            whisperr.identify(email="ada@example.com")
            await whisperr.aidentify(email="ada@example.com")
            return [
                whisperr.track("plan_upgraded"),
                await whisperr.atrack("plan_upgraded"),
                whisperr.user_id,
                await whisperr.auser_id(),
            ]

        assert ask(view, client, lambda scope: None) == [None] * 4
        assert sent(client, server) == []
        assert errors == []

    @pytest.mark.parametrize("resolve_user", [raising, async_raising])
    def test_a_resolver_that_raises_is_reported_and_the_request_goes_on(
        self, resolve_user: Any, client: Whisperr, errors: list[WhisperrError]
    ) -> None:
        async def view(whisperr: RequestTracker) -> str | None:
            whisperr.track("plan_upgraded")
            return await whisperr.atrack("plan_upgraded")

        assert ask(view, client, resolve_user) is None
        assert get_reports(client, errors) == [
            "track: external_user_id: resolve_user raised LookupError"
        ]
        assert client.stats().not_accepted["invalid"] == 2

    def test_without_a_resolver_it_is_the_identity_of_the_authenticated_user(
        self, client: Whisperr
    ) -> None:
        class User:
            is_authenticated = True
            identity = 7

        class Anonymous:
            is_authenticated = False

        assert ask(lambda whisperr: whisperr.user_id, client, user=User()) == "7"
        assert ask(lambda whisperr: whisperr.user_id, client, user=Anonymous()) is None

    def test_without_a_resolver_and_a_user_the_report_says_what_to_do(
        self, client: Whisperr, errors: list[WhisperrError]
    ) -> None:
        assert ask(lambda whisperr: whisperr.track("plan_upgraded"), client) is None
        assert "give WhisperrMiddleware a resolve_user" in get_reports(client, errors)[0]

    def test_an_invalid_user_id_is_reported(
        self, client: Whisperr, errors: list[WhisperrError]
    ) -> None:
        assert ask(lambda whisperr: whisperr.user_id, client, lambda scope: "  ") is None
        assert get_reports(client, errors)[0].startswith("user_id: external_user_id: ")

    def test_the_client_is_there_for_other_users(
        self, client: Whisperr, server: LocalServer
    ) -> None:
        ask(lambda whisperr: whisperr.client.track("grace", "invited"), client, never)
        assert sent(client, server) == [("grace", "invited")]


class TestAsyncResolvers:
    def test_what_was_tracked_gets_its_user_at_the_end_of_the_request(
        self, client: Whisperr, server: LocalServer
    ) -> None:
        def view(whisperr: RequestTracker) -> str | None:
            whisperr.identify(traits={"plan": "pro"})
            return whisperr.track("plan_upgraded", {"n": 1})

        message_id = ask(view, client, async_ada)
        assert sent(client, server) == [("ada", None), ("ada", "plan_upgraded")]
        assert server.arrivals()[1].body["context"]["$message_id"] == message_id

    def test_an_object_with_an_async_call_is_an_async_resolver(
        self, client: Whisperr, server: LocalServer
    ) -> None:
        class Ada:
            async def __call__(self, scope: Any) -> str:
                return "ada"

        ask(lambda whisperr: whisperr.track("plan_upgraded"), client, Ada())
        assert sent(client, server) == [("ada", "plan_upgraded")]

    def test_the_async_forms_return_when_the_event_is_queued(
        self, client: Whisperr, server: LocalServer
    ) -> None:
        async def view(whisperr: RequestTracker) -> Any:
            await whisperr.aidentify(traits={"plan": "pro"})
            return await whisperr.atrack("plan_upgraded"), client.stats().accepted

        message_id, accepted = ask(view, client, async_ada)
        assert accepted == 2
        assert sent(client, server) == [("ada", None), ("ada", "plan_upgraded")]
        assert server.arrivals()[1].body["context"]["$message_id"] == message_id

    def test_bad_data_is_reported_at_once_and_not_deferred(
        self, client: Whisperr, errors: list[WhisperrError]
    ) -> None:
        async def view(whisperr: RequestTracker) -> list[Any]:
            whisperr.identify(email=7)  # type: ignore[arg-type]  # the subject of the test
            await whisperr.aidentify(email=7)  # type: ignore[arg-type]  # likewise
            return [whisperr.track("Bad Name"), await whisperr.atrack("Bad Name")]

        assert ask(view, client, async_ada) == [None, None]
        assert client.stats().not_accepted["invalid"] == 4

    def test_after_the_request_the_report_says_to_await(
        self, client: Whisperr, errors: list[WhisperrError]
    ) -> None:
        tracker = ask(lambda whisperr: whisperr, client, async_ada)
        assert tracker.track("plan_upgraded") is None
        assert "await atrack() there" in get_reports(client, errors)[0]

    def test_the_plain_user_id_needs_a_sync_resolver(
        self, client: Whisperr, errors: list[WhisperrError]
    ) -> None:
        async def view(whisperr: RequestTracker) -> Any:
            return whisperr.user_id, await whisperr.auser_id()

        assert ask(view, client, async_ada) == (None, "ada")
        assert "must not be async here" in get_reports(client, errors)[0]

    def test_what_a_cancelled_request_leaves_is_reported(
        self, client: Whisperr, errors: list[WhisperrError]
    ) -> None:
        async def cancelled(scope: Any) -> str:
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            ask(lambda whisperr: whisperr.track("plan_upgraded"), client, cancelled)
        assert "cancelled before its user was read" in get_reports(client, errors)[0]

    def test_in_strict_mode_a_failure_is_raised(self, server: LocalServer) -> None:
        with Whisperr("wrk_test", base_url=server.url, strict=True) as strict:
            for resolve_user in (raising, async_raising):
                with pytest.raises(InvalidEvent):
                    ask(lambda whisperr: whisperr.track("plan_upgraded"), strict, resolve_user)

    def test_in_strict_mode_every_pending_event_is_settled(self, server: LocalServer) -> None:
        people = iter(["ada", "  "])

        async def one_after_the_other(scope: Any) -> str:
            return next(people)

        def both(whisperr: RequestTracker) -> None:
            whisperr.identify(traits={"plan": "pro"})
            whisperr.track("plan_upgraded")

        with Whisperr("wrk_test", base_url=server.url, strict=True) as strict:
            ask(both, strict, one_after_the_other)
            with pytest.raises(InvalidEvent):
                ask(both, strict, one_after_the_other)
            assert strict.stats().accepted == 2


class TestTrio:
    def test_a_resolver_that_uses_trio_is_awaited_at_the_end_of_the_request(
        self, client: Whisperr
    ) -> None:
        trio: Any = pytest.importorskip("trio", reason="trio is not installed")

        async def resolve_user(scope: Any) -> str:
            await trio.sleep(0)
            return "ada"

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["state"]["whisperr"].track("plan_upgraded")
            await scope["state"]["whisperr"].atrack("plan_upgraded")

        middleware = WhisperrMiddleware(app, client, resolve_user=resolve_user)
        trio.run(middleware, {"type": "http"}, receive, send)
        assert queued(client) == 2

    def test_what_a_cancelled_request_leaves_is_reported(self, client: Whisperr) -> None:
        trio: Any = pytest.importorskip("trio", reason="trio is not installed")

        async def resolve_user(scope: Any) -> str:
            await trio.sleep(60)
            return "ada"

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["state"]["whisperr"].track("plan_upgraded")

        middleware = WhisperrMiddleware(app, client, resolve_user=resolve_user)

        async def main() -> None:
            with trio.move_on_after(0.05):
                await middleware({"type": "http"}, receive, send)

        trio.run(main)
        assert client.stats().not_accepted == {"invalid": 1}
        assert client.stats().held == 0


class TestConnections:
    def test_a_sync_resolver_leaves_the_messages_of_a_websocket_alone(
        self, client: Whisperr, server: LocalServer
    ) -> None:
        seen: list[Any] = []

        async def app(scope: Any, *calls: Any) -> None:
            seen.extend(calls)
            scope["state"]["whisperr"].track("joined")

        scope = {"type": "websocket"}
        middleware = WhisperrMiddleware(app, client, resolve_user=lambda scope: "ada")
        asyncio.run(middleware(scope, receive, send))
        assert seen == [receive, send]
        assert sent(client, server) == [("ada", "joined")]

    def test_on_a_websocket_what_waits_for_its_user_is_queued_before_the_next_message(
        self, client: Whisperr
    ) -> None:
        counts: list[int] = []

        async def message(*_: Any) -> Any:
            return {"type": "websocket.receive"}

        async def app(scope: Any, receive: Any, send: Any) -> None:
            for number, call in enumerate((receive, lambda: send({}))):
                scope["state"]["whisperr"].track("joined", {"n": number})
                counts.append(queued(client))
                await call()
                counts.append(queued(client))
            scope["state"]["whisperr"].track("left")

        middleware = WhisperrMiddleware(app, client, resolve_user=async_ada)
        asyncio.run(middleware({"type": "websocket"}, message, message))
        assert counts == [0, 1, 1, 2]
        assert queued(client) == 3

    def test_a_cancelled_receive_keeps_what_waits_for_its_user(
        self, client: Whisperr, server: LocalServer
    ) -> None:
        slow = [True]

        async def resolve_user(scope: Any) -> str:
            if slow.pop():
                await asyncio.sleep(60)
            return "ada"

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["state"]["whisperr"].track("joined")
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(receive(), 0.01)
            slow.append(False)

        middleware = WhisperrMiddleware(app, client, resolve_user=resolve_user)
        asyncio.run(middleware({"type": "websocket"}, receive, send))
        assert sent(client, server) == [("ada", "joined")]

    def test_other_kinds_of_connections_pass_through_untouched(self, client: Whisperr) -> None:
        seen: list[Any] = []

        async def app(*given: Any) -> None:
            seen.extend(given)

        scope = {"type": "telephone"}
        asyncio.run(WhisperrMiddleware(app, client)(scope, receive, send))
        assert seen[0] is scope
        assert seen[1:] == [receive, send]
        assert scope == {"type": "telephone"}

    def test_the_error_of_the_application_passes_on(
        self, client: Whisperr, server: LocalServer
    ) -> None:
        def view(whisperr: RequestTracker) -> None:
            whisperr.track("export_failed")
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            ask(view, client, async_ada)
        assert sent(client, server) == [("ada", "export_failed")]

    def test_the_lifespan_delivers(self, client: Whisperr, server: LocalServer) -> None:
        asked = iter(["lifespan.startup", "lifespan.shutdown"])
        sent_types: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "http"

        async def ask_next() -> Any:
            return {"type": next(asked)}

        async def record(message: Any) -> None:
            sent_types.append(message["type"])

        client.track("ada", "trial_started")
        asyncio.run(WhisperrMiddleware(app, lambda: client)({"type": "lifespan"}, ask_next, record))
        assert sent_types == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        assert len(server.arrivals()) == 1

    @pytest.mark.usefixtures("_no_client_of_the_process")
    def test_without_a_client_it_is_one_from_the_environment(
        self, server: LocalServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(ValueError, match="WHISPERR_API_KEY"):
            WhisperrMiddleware(receive)  # type: ignore[arg-type]  # it is not called
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_test")
        monkeypatch.setenv("WHISPERR_BASE_URL", server.url)
        clients = [ask(lambda whisperr: whisperr.client, None) for _ in range(2)]
        assert clients[0] is clients[1]
        clients[0].track("ada", "trial_started")
        assert sent(clients[0], server) == [("ada", "trial_started")]


class TestTheStateOfTheServer:
    """hypercorn up to 0.17.3 gives concurrent requests one and the same object."""

    def test_concurrent_requests_that_share_it_keep_their_users_apart(
        self, client: Whisperr, server: LocalServer
    ) -> None:
        shared = {"database": object()}

        async def app(scope: Any, receive: Any, send: Any) -> None:
            arrived.append(scope["user_pk"])
            if len(arrived) == 2:  # both have passed the middleware
                both.set()
            await both.wait()
            assert scope["state"]["database"] is shared["database"]
            scope["state"]["whisperr"].track("plan_upgraded", {"of": scope["user_pk"]})

        arrived: list[str] = []
        both = asyncio.Event()
        middleware = WhisperrMiddleware(app, client, resolve_user=lambda scope: scope["user_pk"])

        async def main() -> None:
            await asyncio.gather(
                *(
                    middleware({"type": "http", "state": shared, "user_pk": user}, receive, send)
                    for user in ("ada", "grace")
                )
            )

        asyncio.run(main())
        client.flush()
        users = [(a.user, a.body["properties"]["of"]) for a in server.arrivals()]
        assert sorted(users) == [("ada", "ada"), ("grace", "grace")]
        assert list(shared) == ["database"]

    def test_what_the_application_writes_reaches_the_middlewares_around(
        self, client: Whisperr
    ) -> None:
        state: dict[str, Any] = {"kept": 1, "deleted": 1, "popped": 1}

        async def app(scope: Any, receive: Any, send: Any) -> None:
            inner = scope["state"]
            inner["set"] = 1
            inner.update({"updated": 1}, named=1)
            inner.setdefault("default", 1)
            inner.setdefault("kept", 2)
            inner |= {"joined": 1}
            assert inner.pop("popped") == 1
            assert inner.pop("missing", 7) == 7
            del inner["deleted"]
            scope["route"] = "/upgrade"
            assert {**inner}.keys() == {*state, "whisperr"}
            assert isinstance(inner.pop("whisperr"), RequestTracker)

        scope = {"type": "http", "state": state}
        asyncio.run(WhisperrMiddleware(app, client)(scope, receive, send))
        assert state == dict.fromkeys(["kept", "set", "updated", "named", "default", "joined"], 1)
        assert scope["route"] == "/upgrade"


@pytest.mark.usefixtures("_no_client_of_the_process")
class TestStart:
    """A missing key, as frameworks meet it: they make their middleware in the lifespan."""

    async def start(self, make: Callable[[], Any]) -> tuple[list[Any], BaseException | None]:
        messages: list[Any] = []

        async def ask() -> Any:
            return {"type": "lifespan.startup"}

        async def answer(message: Any) -> None:
            messages.append(message)

        try:
            await make()({"type": "lifespan"}, ask, answer)
        except ValueError as error:
            return messages, error
        return messages, None

    def test_the_lifespan_is_answered_with_the_reason(self) -> None:
        messages, error = asyncio.run(self.start(lambda: WhisperrMiddleware(no_lifespan)))
        assert [message["type"] for message in messages] == ["lifespan.startup.failed"]
        assert "WHISPERR_API_KEY" in messages[0]["message"]
        assert "WHISPERR_API_KEY" in str(error)

    def test_without_a_lifespan_requests_go_on_and_the_log_says_it_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            tracked.append(scope["state"]["whisperr"].track("plan_upgraded"))

        async def main() -> None:
            middleware = WhisperrMiddleware(app, resolve_user=lambda scope: "ada")
            for _ in range(2):
                await middleware({"type": "http"}, receive, send)

        tracked: list[str | None] = []
        asyncio.run(main())
        assert tracked == [None, None]
        (record,) = caplog.records
        assert record.levelname == "ERROR"
        assert "WHISPERR_API_KEY is not set" in record.getMessage()

    def test_a_wrong_key_is_raised_by_each_request_without_a_lifespan(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WHISPERR_API_KEY", "two words")

        async def main() -> None:
            middleware = WhisperrMiddleware(no_lifespan)
            for _ in range(2):
                with pytest.raises(ValueError, match="whitespace"):
                    await middleware({"type": "http"}, receive, send)

        asyncio.run(main())

    def test_whatever_a_function_for_the_client_raises_is_the_reason(self) -> None:
        def make_client() -> Whisperr:
            raise KeyError("settings")

        async def main() -> list[Any]:
            messages: list[Any] = []

            async def ask() -> Any:
                return {"type": "lifespan.startup"}

            async def answer(message: Any) -> None:
                messages.append(message)

            with pytest.raises(KeyError):
                await WhisperrMiddleware(no_lifespan, make_client)(
                    {"type": "lifespan"}, ask, answer
                )
            return messages

        (message,) = asyncio.run(main())
        assert message["message"] == "whisperr: KeyError: 'settings'"

    @pytest.mark.parametrize("timeout", ["10", -1])
    def test_a_wrong_timeout_is_an_error_at_once(self, timeout: Any) -> None:
        with pytest.raises((TypeError, ValueError), match="flush_timeout must be"):
            WhisperrMiddleware(no_lifespan, Whisperr("wrk_test"), flush_timeout=timeout)


async def no_lifespan(scope: Any, receive: Any, send: Any) -> None:
    """Serve nothing."""


class TestWithoutALifespan:
    def run(self, caplog: pytest.LogCaptureFixture, *apps: Any) -> list[str]:
        async def main() -> None:
            for app in apps:
                await app({"type": "http"}, receive, send)

        asyncio.run(main())
        return [r.getMessage() for r in caplog.records if "no lifespan" in r.getMessage()]

    def test_the_first_request_says_so_once_with_what_to_do(
        self, client: Whisperr, caplog: pytest.LogCaptureFixture
    ) -> None:
        middleware = WhisperrMiddleware(no_lifespan, client)
        (message,) = self.run(caplog, middleware, middleware)
        assert message.endswith("wrap the outermost application: app = flush_on_shutdown(app)")
        assert "\n" not in message

    @pytest.mark.parametrize("flushed", ["its client", "a function", "every client", "another"])
    def test_a_lifespan_around_it_that_flushes_its_client_is_enough(
        self, flushed: str, client: Whisperr, caplog: pytest.LogCaptureFixture
    ) -> None:
        middleware = WhisperrMiddleware(no_lifespan, client)
        with Whisperr("wrk_other") as other:
            given: dict[str, Any] = {
                "its client": client,
                "a function": lambda: client,
                "every client": None,
                "another": other,
            }
            outer = flush_on_shutdown(no_lifespan, given[flushed])
            questions = ["lifespan.startup", "lifespan.shutdown"]
            started, end = asyncio.Event(), asyncio.Event()

            async def ask() -> Any:
                question = questions.pop(0)
                if question == "lifespan.shutdown":
                    started.set()
                    await end.wait()
                return {"type": question}

            async def main() -> None:
                lifespan = asyncio.create_task(outer({"type": "lifespan"}, ask, answer))
                await started.wait()
                await middleware({"type": "http"}, receive, send)
                end.set()
                await lifespan

            async def answer(message: Any) -> None:
                """Take the answer."""

            asyncio.run(main())
        said = [r for r in caplog.records if "no lifespan" in r.getMessage()]
        assert len(said) == (flushed == "another")

    def test_a_disabled_client_and_a_test_that_captures_need_none(
        self, client: Whisperr, caplog: pytest.LogCaptureFixture
    ) -> None:
        with capture():
            assert self.run(caplog, WhisperrMiddleware(no_lifespan, client)) == []
        off = WhisperrMiddleware(no_lifespan, Whisperr(disabled=True))
        assert self.run(caplog, off) == []
