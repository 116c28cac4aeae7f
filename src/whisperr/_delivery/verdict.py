"""What an answer means for the batch in flight: delivered, dropped, divided, retried, given up.

Pure: no clock, no randomness, no transport of its own. The scheduler sends a part, hands the answer
in, and does what the verdict says.
"""

from __future__ import annotations

from whisperr._contract import AUTH, HALVE, OK, RETRY, SPLIT, classify
from whisperr._process.imports import json_loads
from whisperr.errors import Loss

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
_FOREVER = float("inf")


class Verdict:
    """What an answer means for the part that was sent. A result: nothing changes it.

    - `settled`: how many events, from the front, are over: delivered, but for those of `loss`.
    - `wait`: seconds before the next attempt; None when none is waited for.
    - `asked`: whether the server asked for that wait (Retry-After).
    - `give_up`: release the rest of the batch and pause; None otherwise.
    - `message`: one line that says what the answer was.
    """

    __slots__ = ("asked", "give_up", "loss", "message", "settled", "status", "wait")

    def __init__(
        self,
        status: int | None,
        message: str,
        *,
        settled: int = 0,
        loss: Loss | None = None,
        wait: float | None = None,
        asked: bool = False,
        give_up: ErrorType | None = None,
    ) -> None:
        self.status = status
        self.message = message
        self.settled = settled
        self.loss = loss
        self.wait = wait
        self.asked = asked
        self.give_up: ErrorType | None = give_up

    @property
    def failed(self) -> bool:
        """Whether the part has to be sent again."""
        return self.wait is not None or self.give_up is not None


class InFlight:
    """The batch in flight: its parts in order, the next one to send last in the list."""

    __slots__ = ("_extra", "_max_retries", "_parts", "_random", "failures")

    def __init__(self, batch: Sequence[bytes], max_retries: int, random: Random) -> None:
        self._parts = [batch]
        self._max_retries = max_retries
        self._random = random
        self.failures = 0  # attempts in a row that failed
        self._extra = 0

    @property
    def part(self) -> Sequence[bytes]:
        """The events of the next request; empty when the batch is over."""
        return self._parts[-1] if self._parts else ()

    @property
    def left(self) -> int:
        """How many events of the batch are not settled."""
        return sum(map(len, self._parts))

    def take_answer(
        self, answer: Answer | None, problem: str, now: float, patience: float = _FOREVER
    ) -> Verdict:
        """Return what the answer to `part` means; None: no answer came, and `problem` says why.

        `now` is the wall clock in seconds, for a Retry-After that names a date. A wait of
        `patience` seconds or more cannot be made: the verdict is to give up.
        """
        status = None if answer is None else answer.status
        outcome = classify(status)
        message = _describe(answer, problem)
        if outcome == RETRY:
            return self._retry(answer, message, now, patience)
        self.failures = 0
        if outcome == AUTH:
            return Verdict(status, message, give_up="auth")
        if outcome == OK:
            refused = 0 if answer is None else parse_rejected(answer.body)
            size = len(self.part)
            if refused:
                refused = min(refused, size)
                message = f"the server refused {refused} of {size} in a batch"
            return self._settle(status, message, refused, "refused_in_batch")
        if outcome in (SPLIT, HALVE) and len(self.part) > 1 and self._may_divide(outcome):
            self._divide(outcome)
            return Verdict(status, message)
        reason: Reason = "too_large" if outcome == SPLIT else "rejected"
        return self._settle(status, message, len(self.part), reason)

    def _retry(self, answer: Answer | None, message: str, now: float, patience: float) -> Verdict:
        self.failures += 1
        status = asked = None
        if answer is not None:
            status = answer.status
            if status in (429, 503):  # CONTRACT: Retry-After
                asked = parse_retry_after(answer.headers.get("retry-after"), now)
        exhausted = self.failures > self._max_retries
        wait = asked if exhausted else get_wait(self.failures, asked, self._random)
        too_long = wait is not None and wait >= patience
        return Verdict(
            status,
            message,
            wait=wait,
            asked=asked is not None,
            give_up="retry_exhausted" if exhausted or too_long else None,
        )

    def _settle(self, status: int | None, message: str, lost: int, reason: Reason) -> Verdict:
        size = len(self._parts.pop())
        loss = Loss(lost, reason, message, status) if lost else None
        return Verdict(status, message, settled=size, loss=loss)

    def _may_divide(self, outcome: str) -> bool:
        """Return whether to divide: splitting ends by itself, only halving needs a bound."""
        return outcome == SPLIT or self._extra + 2 <= MAX_EXTRA_REQUESTS

    def _divide(self, outcome: str) -> None:
        part = self._parts.pop()
        middle = len(part) // 2
        self._parts += [part[middle:], part[:middle]]
        self._extra += 2 if outcome == HALVE else 0


def _describe(answer: Answer | None, problem: str) -> str:
    """Return in one line what came back; a redirect with its target, an error with its code."""
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
    value = _get_member(body, "rejected")
    return value if isinstance(value, int) and value > 0 and value is not True else 0


def parse_error_code(body: bytes) -> str | None:
    """Return the server's error code when it is one word: free text may repeat a payload."""
    for name in ("code", "error"):
        value = _get_member(body, name)
        if isinstance(value, str) and _is_code(value):
            return value
    return None


def _is_code(text: str) -> bool:
    return (
        0 < len(text) <= _LONGEST_CODE
        and text[0] not in "0123456789_"
        and _IN_CODES.issuperset(text)
    )


def _get_member(body: bytes, name: str) -> object:
    try:
        answer = json_loads()(body)
    except (ValueError, RecursionError):
        return None
    return answer.get(name) if isinstance(answer, dict) else None
