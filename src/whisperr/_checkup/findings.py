"""The result of a check, and its text for a terminal: a line, and for problems the fix. Pure.

The text of a finding never contains the key or a password. It may contain foreign text, which
`to_text` escapes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from whisperr._foreign import printable
from whisperr._platform import get_user_id

from .hints import HINTS

if TYPE_CHECKING:
    from collections.abc import Callable

    State = Literal["ok", "doubtful", "wrong", "skipped"]

_SIGNS = {"ok": "✓", "doubtful": "!", "wrong": "✗", "skipped": "-"}
_PLAIN_SIGNS = {**_SIGNS, "ok": "+", "wrong": "x"}
_LONGEST = 600  # characters of a line; more is not read anyway
_KB = 1024
_UNITS = ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min"))
_BEFORE_NEXT_UNIT = 2  # "90 min" says more than "2 h"


class Finding(NamedTuple):
    """The result of one check: its name, a state, one line of text, and the fix.

    Only the state `wrong` makes a command fail. `hint` is empty if there is nothing to do.
    """

    name: str
    state: State
    text: str
    hint: str = ""


def find(code: str, text: str, **values: object) -> Finding:
    """Return the finding of a problem in HINTS; `values` fill in the braces of its fix."""
    hint = HINTS[code]
    return Finding(hint.check, hint.state, text, hint.fix.format(**values))


def to_text(finding: Finding, paint: Callable[[str, State], str], encoding: str | None) -> str:
    """Return one or two lines for a terminal; `paint` colours the sign of a state."""
    signs = _SIGNS if _can_encode(encoding) else _PLAIN_SIGNS
    sign = paint(signs[finding.state], finding.state)
    text = f"{sign} {finding.name:<17} {printable(finding.text, _LONGEST)}"
    return text + (f"\n{'':<20}fix: {printable(finding.hint, _LONGEST)}" if finding.hint else "")


def _can_encode(encoding: str | None) -> bool:
    try:
        "".join(_SIGNS.values()).encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def get_user() -> str:
    """Return the id of the user that this process runs as."""
    user = get_user_id()
    return "this user" if user is None else str(user)


def to_duration(seconds: float) -> str:
    """Return a duration in the unit that fits: `1.4 s`, `90 min`, `40 days`."""
    for size, unit in _UNITS:
        if seconds >= _BEFORE_NEXT_UNIT * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} s"


def to_size(count: float) -> str:
    """Return a number of bytes in the unit that fits, as `ls -h` counts."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < _KB:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= _KB
    return f"{count:,.1f} TB"


def to_milliseconds(seconds: float) -> str:
    """Return a duration in milliseconds, as text."""
    return f"{max(seconds, 0.0) * 1000:.0f} ms"


def to_count(number: int, noun: str) -> str:
    """Return a number with its noun: `1 row`, `2 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
