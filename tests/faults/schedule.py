"""Chooses which fault hits which exchange, by seeded random numbers. No sockets.

The proxy calls `next` once for each exchange, in the order in which they begin. The same seed gives
the same faults. A schedule can be printed and replayed.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal, cast, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import Self

Kind = Literal[
    "latency",
    "drip",
    "truncate",
    "half_close",
    "reset",
    "black_hole",
    "lose_answer",
    "refuse",
]
Way = Literal["request", "answer"]

KINDS: tuple[Kind, ...] = get_args(Kind)
# The possible combinations: only an answer can be lost, and only a request refused.
_CHOICES: tuple[tuple[Kind, Way], ...] = (
    *((kind, way) for kind in KINDS[:6] for way in get_args(Way)),
    ("lose_answer", "answer"),
    ("refuse", "request"),
)
_SECONDS: dict[Kind, tuple[float, ...]] = {
    "latency": (0.02, 0.1, 0.7),
    "drip": (0.0005, 0.01),
    "refuse": (0.05, 0.2),
}
_MOST_BYTES = 150
_SIZED: tuple[Kind, ...] = ("truncate", "reset")
_NONE = "-"


@dataclass(frozen=True)
class Fault:
    """One fault: its kind, and which way it hits: the request or the answer.

    `seconds`: the delay of `latency`, the pause between the bytes of `drip`, how long `refuse`
    refuses connections. `after_bytes`: how much is sent before `truncate` or `reset`.
    """

    kind: Kind
    way: Way = "answer"
    seconds: float = 0.0
    after_bytes: int = 0

    def __str__(self) -> str:
        return f"{self.kind}/{self.way}/{self.seconds:g}/{self.after_bytes}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the fault that prints as `text`."""
        kind, way, seconds, after_bytes = text.split("/")
        if (kind, way) not in _CHOICES:
            raise ValueError(f"{kind}/{way}: no such fault")
        return cls(cast("Kind", kind), cast("Way", way), float(seconds), int(after_bytes))


class Schedule:
    """Gives a fault or none for each exchange, a fault for the share `rate` of them.

    `kinds` are those to choose from. `str()` names the seed and all that was given so far.
    """

    def __init__(self, seed: int, *, rate: float = 0.3, kinds: Sequence[Kind] = KINDS) -> None:
        self._title = f"seed {seed}, rate {rate:g}"
        self._random = Random(seed)
        self._rate = rate
        self._choices = [choice for choice in _CHOICES if choice[0] in kinds]
        self._fixed: list[Fault | None] | None = None
        self._given: list[Fault | None] = []

    @classmethod
    def from_faults(cls, faults: Iterable[Fault | None]) -> Self:
        """Return a schedule that gives these, one by one, then none."""
        made = cls(0)
        made._title = "replayed"
        made._fixed = list(faults)
        return made

    @classmethod
    def replay(cls, text: str) -> Self:
        """Return a schedule that gives what the printed one gave."""
        words = text.rpartition(":")[2].split()
        return cls.from_faults(None if word == _NONE else Fault.parse(word) for word in words)

    def next(self) -> Fault | None:
        """Return the fault of the next exchange, or None."""
        if self._fixed is None:
            fault = self._choose()
        else:
            at = len(self._given)
            fault = self._fixed[at] if at < len(self._fixed) else None
        self._given.append(fault)
        return fault

    @property
    def given(self) -> tuple[Fault | None, ...]:
        """What was given so far."""
        return tuple(self._given)

    def __str__(self) -> str:
        words = (str(fault) if fault is not None else _NONE for fault in self._given)
        return f"{self._title}: {' '.join(words)}"

    def _choose(self) -> Fault | None:
        if self._random.random() >= self._rate:
            return None
        kind, way = self._random.choice(self._choices)
        seconds = self._random.choice(_SECONDS.get(kind, (0.0,)))
        after_bytes = self._random.randrange(_MOST_BYTES) if kind in _SIZED else 0
        return Fault(kind, way, seconds, after_bytes)
