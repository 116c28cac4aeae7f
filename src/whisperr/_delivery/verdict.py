"""Step 5: one batch: send, judge, wait; delivered, dropped with a reason, or put back.

Pure: it says which part to send next and what an answer means. Sending, waiting and counting
are the worker's.
"""

from __future__ import annotations

from whisperr._contract import AUTH, HALVE, OK, RETRY, SPLIT, classify
from whisperr._process.imports import json_loads

from .backoff import get_wait, parse_retry_after

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from whisperr._contract import Answer
    from whisperr.errors import ErrorType, Reason

    from .backoff import Random

# Requests that halving may add for one batch. Finding one bad event among 500 takes 18; past the
# limit, what is refused is dropped as a whole: so many bad events are not worth a flood.
MAX_EXTRA_REQUESTS = 64
_LONGEST_CODE = 64
_IN_CODES = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")


class Verdict:
    """What an answer means for the part that was sent.

    `ended`: how many events, from the front, have ended; `delivered` of them the server has, the
    others are dropped for `reason`. `wait`: seconds before the next attempt, None when the batch
    goes on at once or is over. `asked`: the server asked for that wait. `give_up`: put the rest
    of the batch back and pause. `message`: one line about what went wrong.
    """

    __slots__ = ("asked", "delivered", "ended", "give_up", "message", "reason", "status", "wait")

    def __init__(self, status: int | None) -> None:
        self.status = status
        self.ended = 0
        self.delivered = 0
        self.reason: Reason | None = None
        self.wait: float | None = None
        self.asked = False
        self.give_up: ErrorType | None = None
        self.message = ""


class Delivery:
    """The way of one batch: its parts in order, first to send last in the list."""

    __slots__ = ("_dice", "_extra", "_failures", "_max_retries", "_parts")

    def __init__(self, batch: Sequence[bytes], max_retries: int, random: Random) -> None:
        self._parts = [batch]
        self._max_retries = max_retries
        self._dice = random
        self._failures = 0
        self._extra = 0

    @property
    def part(self) -> Sequence[bytes]:
        """The events of the next request; empty when the batch is over."""
        return self._parts[-1] if self._parts else ()

    @property
    def left(self) -> int:
        """How many events of the batch have not ended."""
        return sum(map(len, self._parts))

    @property
    def failures(self) -> int:
        """How many attempts in a row failed."""
        return self._failures

    def judge(self, answer: Answer | None, problem: str, now: float) -> Verdict:
        """Judge the answer to `part`; None: no answer came, and `problem` says why.

        `now` is the wall clock in seconds, for a Retry-After that names a date.
        """
        status = None if answer is None else answer.status
        outcome = classify(status)
        verdict = Verdict(status)
        verdict.message = _explained(answer, problem)
        if outcome == RETRY:
            self._retry(verdict, answer, now)
        elif outcome == AUTH:
            verdict.give_up = "auth"
            self._failures = 0
        elif outcome == OK:
            refused = 0 if answer is None else parse_rejected(answer.body)
            self._end(verdict, refused, "refused_in_batch")
        elif outcome in (SPLIT, HALVE) and len(self.part) > 1 and self._may_divide(outcome):
            self._divide()
            self._extra += 2 if outcome == HALVE else 0
        else:
            self._end(verdict, len(self.part), "too_large" if outcome == SPLIT else "rejected")
        return verdict

    def _retry(self, verdict: Verdict, answer: Answer | None, now: float) -> None:
        self._failures += 1
        value = None
        if answer is not None and answer.status in (429, 503):  # CONTRACT: Retry-After
            value = parse_retry_after(answer.headers.get("retry-after"), now)
        if self._failures > self._max_retries:
            verdict.give_up = "retry_exhausted"
            verdict.wait = value
        else:
            verdict.wait = get_wait(self._failures, value, self._dice)
        verdict.asked = value is not None

    def _end(self, verdict: Verdict, lost: int, reason: Reason) -> None:
        size = len(self._parts.pop())
        self._failures = 0
        verdict.ended = size
        verdict.delivered = size - min(lost, size)
        if lost:
            verdict.reason = reason
            if reason == "refused_in_batch":
                verdict.message = f"the server refused {min(lost, size)} of {size} in a batch"

    def _may_divide(self, outcome: str) -> bool:
        """Say whether to divide: splitting ends by itself, only halving needs a bound."""
        return outcome == SPLIT or self._extra + 2 <= MAX_EXTRA_REQUESTS

    def _divide(self) -> None:
        part = self._parts.pop()
        middle = len(part) // 2
        self._parts += [part[middle:], part[:middle]]
        self._failures = 0


def _explained(answer: Answer | None, problem: str) -> str:
    """Say in one line what came back; a redirect with its target, an error with its code."""
    if answer is None:
        return f"no answer: {problem}"
    if answer.status < 300:  # noqa: PLR2004  # 2xx: there is no code, and nearly all answers are
        return f"HTTP {answer.status}"
    target = answer.headers.get("location")
    if answer.status < 400 and target:  # noqa: PLR2004  # 3xx
        return f"HTTP {answer.status} to {target.split('?')[0][:200]}; redirects are not followed"
    code = parse_error_code(answer.body)
    return f"HTTP {answer.status}" + (f" {code}" if code else "")


def parse_rejected(body: bytes) -> int:
    """Return `rejected` of a 202: how many events of the batch failed the check of their shape."""
    value = _member(body, "rejected")
    return value if isinstance(value, int) and value > 0 and value is not True else 0


def parse_error_code(body: bytes) -> str | None:
    """Return the server's error code when it is one word: free text may repeat a payload."""
    for name in ("code", "error"):
        value = _member(body, name)
        if isinstance(value, str) and _is_code(value):
            return value
    return None


def _is_code(text: str) -> bool:
    return (
        0 < len(text) <= _LONGEST_CODE
        and text[0] not in "0123456789_"
        and _IN_CODES.issuperset(text)
    )


def _member(body: bytes, name: str) -> object:
    try:
        answer = json_loads()(body)
    except (ValueError, RecursionError):
        return None
    return answer.get(name) if isinstance(answer, dict) else None
