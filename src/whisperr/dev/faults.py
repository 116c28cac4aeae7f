"""Fault injection: what the local server does wrong on purpose, and how often.

Each function returns a `Fault` for `LocalServer(faults=...)` or `LocalServer.set_faults`. All take
two options: `rate` is the share of requests that meet the fault, above 0 and at most 1; `times` is
the number of requests that meet it, None for no limit. The random numbers are seeded, so that a run
can be repeated.

.. versionadded:: 1.0
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, fields
from random import Random
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from typing_extensions import Self

__all__ = [
    "KINDS",
    "Fault",
    "Kind",
    "cut",
    "drip",
    "hang",
    "latency",
    "legacy",
    "lose_answer",
    "status",
    "wrong_key",
]

Kind = Literal["status", "latency", "hang", "cut", "lose_answer", "drip", "legacy"]
"""What a fault does; the functions of this module describe each."""
KINDS: tuple[Kind, ...] = get_args(Kind)
"""All kinds of faults."""


@dataclass(frozen=True)
class Fault:
    """One fault. The functions of this module make it.

    Attributes:
        kind: What it does.
        rate: The share of requests that meet it, above 0 and at most 1.
        times: How many requests meet it; None for no limit.
        code: Of `"status"`: the HTTP status, from 300 to 599.
        retry_after: Of `"status"`: the header `Retry-After`.
        location: Of `"status"`: the header `Location`.
        seconds: Of `"latency"`: the delay. Of `"drip"`: the pause between two bytes.
        path: Only requests to this path meet it, such as `"/v1/identify"`; None for every path.

    Raises:
        ValueError: A value is wrong; the text names it and says what is allowed.
    """

    kind: Kind
    rate: float = 1.0
    times: int | None = None
    code: int = 503
    retry_after: str | None = None
    location: str | None = None
    seconds: float = 0.1
    path: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError that names the wrong value and what is allowed."""
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r}: must be one of {', '.join(KINDS)}")
        if not _is_number(self.rate, int, float) or not 0 < self.rate <= 1:
            raise ValueError(f"rate={self.rate!r}: must be above 0 and at most 1")
        if self.times is not None and not (_is_number(self.times, int) and self.times > 0):
            raise ValueError(f"times={self.times!r}: must be a whole number from 1, or None")
        if not _is_number(self.code, int) or not 300 <= self.code <= 599:  # noqa: PLR2004  # HTTP
            raise ValueError(f"code={self.code!r}: must be a status from 300 to 599")
        if not _is_number(self.seconds, int, float) or not 0 <= self.seconds <= 3600:  # noqa: PLR2004  # an hour
            raise ValueError(f"seconds={self.seconds!r}: must be from 0 to 3600")
        for name in ("retry_after", "location", "path"):
            text = getattr(self, name)
            if text is not None and not (isinstance(text, str) and text.isprintable()):
                raise ValueError(f"{name}={text!r}: must be printable text")

    @classmethod
    def from_json(cls, given: object) -> Self:
        """Return the fault that a JSON object stands for.

        Args:
            given: The decoded object, with `kind` and the other attributes as keys.

        Raises:
            ValueError: A key or a value is unknown or wrong.
        """
        known = {field.name for field in fields(cls)}
        if not isinstance(given, dict) or "kind" not in given:
            raise ValueError(f"a fault must be an object with kind, one of {', '.join(KINDS)}")
        unknown = sorted(set(given) - known)
        if unknown:
            raise ValueError(f"{unknown[0]}: unknown; allowed: {', '.join(sorted(known))}")
        return cls(**given)

    def to_json(self) -> Mapping[str, Any]:
        """Return the JSON object that `from_json` reads."""
        return asdict(self)


def status(
    code: int,
    *,
    rate: float = 1.0,
    times: int | None = None,
    retry_after: float | str | None = None,
    location: str | None = None,
) -> Fault:
    """Answer with a status and accept nothing.

    Args:
        code: The HTTP status, from 300 to 599.
        rate: The share of requests that meet it.
        times: How many requests meet it; None for no limit.
        retry_after: The header `Retry-After`: seconds, or an HTTP date.
        location: The header `Location`.
    """
    after = None if retry_after is None else str(retry_after)
    return Fault("status", rate, times, code, after, location)


def latency(seconds: float, *, rate: float = 1.0, times: int | None = None) -> Fault:
    """Wait before anything else.

    Args:
        seconds: How long to wait, in seconds.
        rate: The share of requests that meet it.
        times: How many requests meet it; None for no limit.
    """
    return Fault("latency", rate, times, seconds=seconds)


def hang(*, rate: float = 1.0, times: int | None = None) -> Fault:
    """Accept nothing and never answer.

    Args:
        rate: The share of requests that meet it.
        times: How many requests meet it; None for no limit.
    """
    return Fault("hang", rate, times)


def cut(*, rate: float = 1.0, times: int | None = None) -> Fault:
    """Accept nothing and cut the connection.

    Args:
        rate: The share of requests that meet it.
        times: How many requests meet it; None for no limit.
    """
    return Fault("cut", rate, times)


def lose_answer(*, rate: float = 1.0, times: int | None = None, path: str | None = None) -> Fault:
    """Accept the request, then cut the connection before the answer.

    Args:
        rate: The share of requests that meet it.
        times: How many requests meet it; None for no limit.
        path: Only requests to this path meet it; None for every path.
    """
    return Fault("lose_answer", rate, times, path=path)


def drip(seconds: float, *, rate: float = 1.0, times: int | None = None) -> Fault:
    """Accept the request, then send the answer byte by byte.

    Args:
        seconds: The pause between two bytes, in seconds.
        rate: The share of requests that meet it.
        times: How many requests meet it; None for no limit.
    """
    return Fault("drip", rate, times, seconds=seconds)


def wrong_key(*, rate: float = 1.0, times: int | None = None) -> Fault:
    """Refuse every key with 401.

    Args:
        rate: The share of requests that meet it.
        times: How many requests meet it; None for no limit.
    """
    return status(401, rate=rate, times=times)


def legacy(*, rate: float = 1.0, times: int | None = None) -> Fault:
    """Refuse a whole batch with 400 for one bad event, as older servers do.

    Args:
        rate: The share of requests that meet it.
        times: How many requests meet it; None for no limit.
    """
    return Fault("legacy", rate, times)


class FaultInjector:
    """The faults that are on. Any thread may call any method.

    `on_change` is called in the thread of `set`, after the faults were replaced.
    """

    def __init__(
        self,
        faults: Iterable[Fault] = (),
        seed: int = 0,
        *,
        on_change: Callable[[], object] = lambda: None,
    ) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)  # also those that have used up their times
        self._lock = Lock()
        self._random = Random(seed)  # noqa: S311  # a test run, to be repeated
        self._used: Counter[int] = Counter()
        self._on_change = on_change

    def set(self, faults: Iterable[Fault]) -> None:
        """Replace the faults; their counts of times start at zero."""
        with self._lock:
            self.faults = tuple(faults)
            self._used.clear()
        self._on_change()

    def pick(self, path: str) -> list[Fault]:
        """Return the faults of a request to `path`: delays and modes, then at most one failure."""
        picked = []
        with self._lock:
            for index, fault in enumerate(self.faults):
                is_used_up = fault.times is not None and self._used[index] >= fault.times
                if is_used_up or fault.path not in {None, path}:
                    continue
                if fault.rate < 1 and self._random.random() >= fault.rate:
                    continue
                self._used[index] += 1
                picked.append(fault)
                if fault.kind not in {"latency", "legacy"}:
                    break
        return picked


def _is_number(value: object, *types: type[float]) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)
