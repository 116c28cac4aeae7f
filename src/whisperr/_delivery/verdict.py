"""Decides what an answer means for the batch in flight: delivered, dropped, split, retry, give up.

Pure: clock, randomness and transport belong to the scheduler, which sends a part, passes the answer
in, and carries out the verdict.
"""

from __future__ import annotations

from whisperr._contract import (
    AUTH,
    DROP,
    HALVE,
    OK,
    RETRY,
    SPLIT,
    WRONG_PATH,
    Misconfigured,
    classify,
)
from whisperr.errors import Loss

from .backoff import get_wait, parse_retry_after
from .body import get_error_code, get_rejected, is_page, parse_object
from .description import NOTHING, UNKNOWN, describe
from .skew import SET_CLOCK, describe_skew

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from whisperr._contract import Answer, Failure
    from whisperr.errors import ErrorType, Reason

    from .backoff import Random
    from .description import Peer

# Extra requests that halving a batch may make before it slows down. Finding one bad event among 500
# takes 18, and finding 500 takes 998.
EXTRA_AT_ONCE = 64
# Seconds between requests after that: no more often than a busy client sends.
_PACE = 0.1


class Verdict:
    """What an answer means for the part that was sent. Immutable by convention.

    - `settled`: how many events, from the front, are delivered or, if in `loss`, dropped.
    - `wait`: seconds before the next attempt; None if there is none.
    - `asked`: whether the server asked for that wait (Retry-After).
    - `give_up`: the type of the report if the rest of the batch is released and delivery pauses.
      `is_lasting`: whether the answer stays the same until a person changes something.
    - `pace`: seconds before the next request of a batch that needs many.
    - `unclear`: whether the batch was accepted with an unreadable body, which may list refusals.
    - `message`: what the answer was, in one line. `hint`: what to do about it; "" if the reason of
      the loss says that. `patience`: how many attempts in a row must fail before a report.
    - `host`: the host and port that the message is about; None if they are not known.
    """

    __slots__ = (
        "asked",
        "give_up",
        "hint",
        "host",
        "is_lasting",
        "loss",
        "message",
        "pace",
        "patience",
        "settled",
        "status",
        "unclear",
        "wait",
    )

    def __init__(
        self,
        status: int | None,
        message: str,
        host: str | None,
        *,
        settled: int = 0,
        loss: Loss | None = None,
        wait: float | None = None,
        asked: bool = False,
        give_up: ErrorType | None = None,
        pace: float = 0.0,
        unclear: bool = False,
        is_lasting: bool = False,
        hint: str = "",
        patience: int = 1,
    ) -> None:
        self.status = status
        self.message = message
        self.host = host
        self.is_lasting = is_lasting
        self.hint = hint
        self.patience = patience
        self.settled = settled
        self.loss = loss
        self.wait = wait
        self.asked = asked
        self.give_up: ErrorType | None = give_up
        self.pace = pace
        self.unclear = unclear

    @property
    def failed(self) -> bool:
        """Whether the part has to be sent again."""
        return self.wait is not None or self.give_up is not None

    @property
    def is_doubtful(self) -> bool:
        """Whether the answer is anything but a plain success."""
        return self.failed or self.loss is not None or self.unclear


class InFlight:
    """The batch in flight: its parts, with the next one to send last in the list."""

    __slots__ = ("_extra", "_max_retries", "_parts", "_peer", "_random", "failures")

    def __init__(
        self, batch: Sequence[bytes], max_retries: int, random: Random, peer: Peer = UNKNOWN
    ) -> None:
        self._parts = [batch]
        self._peer = peer
        self._max_retries = max_retries
        self._random = random
        self.failures = 0  # attempts in a row that failed
        self._extra = 0

    @property
    def part(self) -> Sequence[bytes]:
        """The events of the next request; empty if the batch is complete."""
        return self._parts[-1] if self._parts else ()

    @property
    def left(self) -> int:
        """How many events of the batch are not settled."""
        return sum(map(len, self._parts))

    def take_answer(self, answer: Answer | None, failure: Exception | None, now: float) -> Verdict:
        """Return what the answer to `part` means; None if no answer came, because of `failure`.

        `now` is the wall clock in seconds, for a Retry-After with a date.
        """
        if answer is None:
            cause = NOTHING if failure is None else self._peer.explain(failure)
            return self._retry(None, cause, now, hopeless=isinstance(failure, Misconfigured))
        page = is_page(answer)
        outcome = _classify(answer.status, page=page)
        if outcome == OK:
            self.failures = 0
            return self._accept(answer, now)
        code = get_error_code(parse_object(answer.body))
        cause = describe(answer, outcome, code, self._peer, page=page)
        if outcome == RETRY:
            return self._retry(answer, cause, now, hopeless=False)
        self.failures = 0
        if outcome in (AUTH, WRONG_PATH):
            return Verdict(
                answer.status,
                cause.text,
                self._peer.host,
                give_up="auth" if outcome == AUTH else "retry_exhausted",
                is_lasting=True,
                hint=cause.hint,
            )
        if outcome in (SPLIT, HALVE) and len(self.part) > 1:
            self._divide(outcome)
            return Verdict(answer.status, cause.text, self._peer.host, pace=self._pace)
        reason: Reason = "too_large" if outcome == SPLIT else "rejected"
        return self._settle(answer, now, cause.text, len(self.part), reason)

    def _retry(
        self, answer: Answer | None, cause: Failure, now: float, *, hopeless: bool
    ) -> Verdict:
        self.failures += 1
        status = asked = None
        if answer is not None:
            status = answer.status
            if status in (429, 503):  # CONTRACT: Retry-After
                asked = parse_retry_after(answer.headers.get("retry-after"), now)
        exhausted = hopeless or self.failures > self._max_retries
        wait = asked if exhausted else get_wait(self.failures, asked, self._random)
        return Verdict(
            status,
            cause.text,
            cause.host if answer is None else self._peer.host,
            wait=wait,
            asked=asked is not None,
            give_up="retry_exhausted" if exhausted else None,
            hint=cause.hint,
            patience=cause.patience,
        )

    def _accept(self, answer: Answer, now: float) -> Verdict:
        """Return the verdict on a success, whose body may say that some events were refused."""
        size = len(self.part)
        members = parse_object(answer.body)
        refused = min(get_rejected(members), size)
        message = f"HTTP {answer.status}"  # made for every batch, so without the address
        if refused:
            message = f"{self._peer.peer} refused {refused} of {size} events in a batch"
        unclear = bool(answer.body) and members is None
        if unclear:
            message = (
                f"{self._peer.peer} accepted a batch of {size} ({message}), but its answer cannot "
                "be read; it may have refused some of the events"
            )
        return self._settle(answer, now, message, refused, "refused_in_batch", unclear=unclear)

    def _settle(
        self,
        answer: Answer,
        now: float,
        message: str,
        lost: int,
        reason: Reason,
        *,
        unclear: bool = False,
    ) -> Verdict:
        loss, status, host = None, answer.status, self._peer.host
        hint = ""
        if lost:
            skew = describe_skew(answer.headers.get("date"), now)
            if skew is not None:
                message, hint = f"{message}; {skew}", SET_CLOCK
            loss = Loss(lost, reason, message, status, host)
        size = len(self._parts.pop())
        pace = self._pace
        return Verdict(
            status, message, host, settled=size, loss=loss, pace=pace, unclear=unclear, hint=hint
        )

    @property
    def _pace(self) -> float:
        """Seconds before the next request. Splitting for size needs no pace: it ends soon."""
        return _PACE if self._parts and self._extra > EXTRA_AT_ONCE else 0.0

    def _divide(self, outcome: str) -> None:
        part = self._parts.pop()
        middle = len(part) // 2
        self._parts += [part[middle:], part[:middle]]
        self._extra += 2 if outcome == HALVE else 0


def _classify(status: int, *, page: bool) -> str:
    """Return the class of an answer.

    A web page is not from the service, which answers in JSON. So it neither accepts events nor
    shows that one is bad.
    """
    outcome = classify(status)
    if page and outcome == OK:
        return RETRY
    return WRONG_PATH if page and outcome in (HALVE, DROP) else outcome
