"""What an answer means for the batch in flight: delivered, dropped, divided, retried, given up.

Pure: no clock, no randomness, no transport of its own. The scheduler sends a part, hands the answer
in, and does what the verdict says.
"""

from __future__ import annotations

from whisperr._contract import AUTH, HALVE, OK, RETRY, SPLIT, Misconfigured, classify
from whisperr._foreign import printable
from whisperr._process.imports import json_loads
from whisperr._process.interruption import belongs_to_caller
from whisperr.errors import Loss

from .backoff import get_wait, parse_retry_after

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from whisperr._contract import Answer
    from whisperr.errors import ErrorType, Reason

    from .backoff import Random

# Requests that halving may add for one batch before it slows down. Finding one bad event among 500
# takes 18, and finding 500 takes 998.
EXTRA_AT_ONCE = 64
# Seconds between requests from there on: as often as a busy client makes them, so no flood.
_PACE = 0.1
_LONGEST_CODE = 64
_IN_CODES = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
_IN_PATHS = _IN_CODES | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ/.-")
_LONGEST_TEXT = 200
_PAGES = ("text/html", "application/xhtml+xml")


class Verdict:
    """What an answer means for the part that was sent. A result: nothing changes it.

    - `settled`: how many events, from the front, are over: delivered, but for those of `loss`.
    - `wait`: seconds before the next attempt; None when none is waited for.
    - `asked`: whether the server asked for that wait (Retry-After).
    - `give_up`: release the rest of the batch and pause; None otherwise.
    - `pace`: seconds before the next request of a batch that needs many.
    - `unclear`: whether the events are accepted, but an answer that may limit that is not readable.
    - `message`: one line that says what the answer was.
    """

    __slots__ = (
        "asked",
        "give_up",
        "loss",
        "message",
        "pace",
        "settled",
        "status",
        "unclear",
        "wait",
    )

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
        pace: float = 0.0,
        unclear: bool = False,
    ) -> None:
        self.status = status
        self.message = message
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
        """Whether there is something to tell about the answer."""
        return self.failed or self.loss is not None or self.unclear


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

    def take_answer(self, answer: Answer | None, failure: Exception | None, now: float) -> Verdict:
        """Return what the answer to `part` means; None: no answer came, because of `failure`.

        `now` is the wall clock in seconds, for a Retry-After that names a date.
        """
        status = None if answer is None else answer.status
        outcome = classify(status)
        message = _describe_failure(failure) if answer is None else _describe(answer)
        if answer is not None and outcome == OK and _is_page(answer):
            outcome = RETRY
            message += " with a web page, which is no answer of the service; is base_url right?"
        if outcome == RETRY:
            hopeless = isinstance(failure, Misconfigured)
            return self._retry(answer, message, now, hopeless=hopeless)
        self.failures = 0
        if outcome == AUTH:
            return Verdict(status, message, give_up="auth")
        if answer is not None and outcome == OK:
            return self._accept(answer, message)
        if outcome in (SPLIT, HALVE) and len(self.part) > 1:
            self._divide(outcome)
            return Verdict(status, message, pace=self._pace)
        reason: Reason = "too_large" if outcome == SPLIT else "rejected"
        return self._settle(status, message, len(self.part), reason)

    def _retry(self, answer: Answer | None, message: str, now: float, *, hopeless: bool) -> Verdict:
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
            message,
            wait=wait,
            asked=asked is not None,
            give_up="retry_exhausted" if exhausted else None,
        )

    def _accept(self, answer: Answer, message: str) -> Verdict:
        """Return the verdict on a success; its body may say that some events are refused."""
        size = len(self.part)
        refused = min(parse_rejected(answer.body), size)
        if refused:
            message = f"the server refused {refused} of {size} in a batch"
        unclear = bool(answer.body) and not _is_object(answer.body)
        if unclear:
            message += ": accepted, but the answer cannot be read: it may have refused some events"
        return self._settle(answer.status, message, refused, "refused_in_batch", unclear=unclear)

    def _settle(
        self,
        status: int | None,
        message: str,
        lost: int,
        reason: Reason,
        *,
        unclear: bool = False,
    ) -> Verdict:
        size = len(self._parts.pop())
        loss = Loss(lost, reason, message, status) if lost else None
        return Verdict(status, message, settled=size, loss=loss, pace=self._pace, unclear=unclear)

    @property
    def _pace(self) -> float:
        """Seconds before the next request. Splitting alone needs no pace: it ends by itself."""
        return _PACE if self._parts and self._extra > EXTRA_AT_ONCE else 0.0

    def _divide(self, outcome: str) -> None:
        part = self._parts.pop()
        middle = len(part) // 2
        self._parts += [part[middle:], part[:middle]]
        self._extra += 2 if outcome == HALVE else 0


def _describe_failure(failure: Exception | None) -> str:
    """Return in one line why no answer came; a transport of other people may raise anything."""
    if failure is None:
        return "no answer: the transport returned None"
    name = type(failure).__name__
    try:
        text = f"{name}: {failure}"
    except Exception as error:  # the text of a foreign exception is foreign code
        if belongs_to_caller(error):
            raise
        text = name
    return f"no answer: {printable(text, _LONGEST_TEXT)}"


def _describe(answer: Answer) -> str:
    """Return in one line what came back; a redirect with its target, an error with its code."""
    if answer.status < 300:  # noqa: PLR2004  # 2xx: there is no code, and nearly all answers are
        return f"HTTP {answer.status}"
    target = answer.headers.get("location")
    if answer.status < 400 and target:  # noqa: PLR2004  # 3xx
        return f"HTTP {answer.status} to {_get_target(target)}; redirects are not followed"
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


def _get_target(location: str) -> str:
    """Return the target of a redirect as far as it may be shown: no user, no query.

    A path with other characters than names have may repeat what was sent, and is left out.
    """
    target = location.partition("#")[0].partition("?")[0].strip()
    start, mark, rest = target.partition("//")
    host, slash, path = rest.partition("/") if mark else ("", "", target)
    path = slash + path if _IN_PATHS.issuperset(path) else ""
    shown = f"{start}{mark}{host.rpartition('@')[2]}{path}" if mark else path
    return printable(shown, _LONGEST_TEXT) or "another address"


def _is_page(answer: Answer) -> bool:
    """Return whether a success is a page for people: of a captive portal, or of a wrong address."""
    if not answer.body:
        return False
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    looks_like_one = kind in _PAGES or answer.body.lstrip()[:1] == b"<"
    return looks_like_one and not _is_object(answer.body)


def _is_object(body: bytes) -> bool:
    return _get_object(body) is not None


def _get_object(body: bytes) -> dict[str, object] | None:
    try:
        answer = json_loads()(body)
    except (ValueError, RecursionError) as error:
        if belongs_to_caller(error):
            raise
        return None
    return answer if isinstance(answer, dict) else None


def _get_member(body: bytes, name: str) -> object:
    answer = _get_object(body)
    return None if answer is None else answer.get(name)
