"""Any sequence of calls and answers: the scheduler loses, doubles and reorders no event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.delivery.rig import Rig, answer, event, get_number, identify, ok, split_request
from whisperr._contract import Answer, Request

if TYPE_CHECKING:
    from whisperr.testing import Reply

ANSWERS: dict[str, Answer | Exception] = {
    "fine": ok(),
    "no connection": OSError("refused"),
    "a timeout": TimeoutError("too slow"),
    "broken": answer(500),
    "a slow timeout": answer(408),
    "elsewhere": answer(302, location="https://other.example/"),
    "busy": answer(429, retry_after="5"),
    "very busy": answer(503, retry_after="600"),
    "no such key": answer(401),
    "not allowed": answer(403),
    "a bad event": answer(400),
    "another bad event": answer(422),
    "too large": answer(413),
    "not found": answer(404),
}
MEANWHILE = ("nothing", "track", "overflow", "ask", "abandon")
_ENOUGH = 12  # events before a story may come to its end


class Server:
    """The service, which keeps the first copy of each event, in the order of arrival."""

    def __init__(self) -> None:
        self.kept: dict[int, bytes] = {}
        self.seen: dict[int, bytes] = {}

    def see(self, request: Request, refused: int = 0, *, keeps: bool) -> None:
        """Receive a request; keep its new events, except the first `refused` ones."""
        for position, data in enumerate(split_request(request.path, request.body)):
            number = get_number(data)
            assert self.seen.setdefault(number, data) == data
            if keeps and position >= refused:
                self.kept.setdefault(number, data)


class WorkerMachine(RuleBasedStateMachine):
    """One scheduler and its queue, with callers, any answers of a server, and time."""

    @initialize(
        flush_at=st.integers(1, 4), max_batch_size=st.integers(1, 4), max_retries=st.integers(0, 2)
    )
    def begin(self, flush_at: int, max_batch_size: int, max_retries: int) -> None:
        self.server = Server()
        self.options = {
            "flush_at": flush_at,
            "max_batch_size": max_batch_size,
            "max_retries": max_retries,
            "max_queue_size": 6,
        }
        self.rig = Rig(**self.options)
        self.rig.survives = True
        self.rig.transport.otherwise = self._reply(ok(), keeps=True)
        self.next_number = 0
        self.put: dict[int, bytes] = {}

    # -- what callers do

    @rule(count=st.integers(1, 3))
    def track(self, count: int) -> None:
        for _ in range(count):
            self._put(event(self.next_number))

    @rule()
    def identify(self) -> None:
        self._put(identify(self.next_number))

    @rule()
    def overflow(self) -> None:
        self.track(8)

    @rule()
    def ask(self) -> None:
        self.rig.flush()

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 5.0, 10.0, 31.0, 70.0, 200.0]))
    def wait(self, seconds: float) -> None:
        self.rig.advance(seconds)

    @precondition(lambda self: self.rig.put_count > _ENOUGH)
    @rule(within=st.sampled_from([0.0, 1.0, 10.0]))
    def close(self, within: float) -> None:
        self.rig.close(within)

    @precondition(lambda self: self.rig.put_count > _ENOUGH)
    @rule()
    def abandon(self) -> None:
        self.rig.scheduler.abandon()

    @precondition(lambda self: self.rig.put_count > _ENOUGH)
    @rule()
    def leave(self) -> None:
        self.rig.scheduler.leave()
        self.rig.wake()

    @rule(count=st.integers(1, 3))
    def fork(self, count: int) -> None:
        """A forked child has its own parts, and neither sends nor loses the parent's events."""
        held, accepted = self.rig.held, self.rig.queue.tail()
        child = Rig(**self.options)
        child.transport.otherwise = ok()
        assert child.held == 0
        numbers = range(self.next_number, self.next_number + count)
        self.next_number += count
        child.track(*numbers)
        child.close(10.0)
        child.advance(10.0)
        assert child.accepted == list(numbers)
        assert child.held == 0
        assert (self.rig.held, self.rig.queue.tail()) == (held, accepted)

    # -- what the server does next

    @rule(name=st.sampled_from(sorted(ANSWERS)), meanwhile=st.sampled_from(MEANWHILE))
    def answers(self, name: str, meanwhile: str) -> None:
        reply = ANSWERS[name]
        keeps = isinstance(reply, Answer) and reply.status == 202
        self.rig.transport.replies.append(self._reply(reply, keeps=keeps, meanwhile=meanwhile))

    @rule()
    def keeps_the_events_and_loses_the_answer(self) -> None:
        self.rig.transport.replies.append(self._reply(OSError("reset"), keeps=True))

    @rule(refused=st.integers(1, 3))
    def refuses_some(self, refused: int) -> None:
        self.rig.transport.replies.append(self._reply(ok(refused), keeps=True, refused=refused))

    @rule()
    def the_transport_returns_nonsense(self) -> None:
        self.rig.transport.replies.append(lambda _: "nonsense")

    # -- what always holds

    @invariant()
    def every_event_has_at_most_one_end(self) -> None:
        if hasattr(self, "rig"):
            self.rig.check()

    @invariant()
    def the_server_has_what_was_tracked_in_that_order(self) -> None:
        if hasattr(self, "rig"):
            numbers = list(self.server.kept)
            assert numbers == sorted(numbers)
            assert self.server.seen.items() <= self.put.items()

    @invariant()
    def delivered_is_never_claimed_of_what_the_server_does_not_have(self) -> None:
        if hasattr(self, "rig"):
            missing = self.rig.put_count - len(self.server.kept)
            assert self.rig.accounting.delivered <= len(self.server.kept)
            assert missing <= sum(self.rig.dropped.values()) + self.rig.held

    def teardown(self) -> None:
        if not hasattr(self, "rig"):
            return
        self.rig.transport.replies.clear()
        self.rig.advance(1_000)
        assert self.rig.held == 0  # time alone delivers or drops everything
        self.every_event_has_at_most_one_end()
        self.the_server_has_what_was_tracked_in_that_order()
        self.delivered_is_never_claimed_of_what_the_server_does_not_have()

    def _put(self, data: bytes) -> None:
        self.put[self.next_number] = data
        self.next_number += 1
        self.rig.put(data)

    def _reply(
        self,
        reply: Answer | Exception,
        *,
        keeps: bool,
        refused: int = 0,
        meanwhile: str = "nothing",
    ) -> Reply:
        def answers(request: Request) -> Answer | Exception:
            self.server.see(request, refused, keeps=keeps)
            if meanwhile == "track":
                self.track(2)
            elif meanwhile == "overflow":
                self.overflow()
            elif meanwhile == "ask":
                self.ask()
            elif meanwhile == "abandon" and self.rig.put_count > _ENOUGH:
                self.abandon()
            return reply

        return answers


TestWorker = WorkerMachine.TestCase
TestWorker.settings = settings(
    deadline=None, max_examples=200, stateful_step_count=40, derandomize=True, database=None
)
