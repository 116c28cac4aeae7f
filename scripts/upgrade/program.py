"""One program of the comparison: a question, the code that answers it, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import dedent
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whisperr.dev.faults import Fault

Look = Callable[[Any], str]
"""Shows what a `LocalServer` received."""

# Every program begins with these lines. The interval is long, so that only `flush()`, `shutdown()`
# and the end of the process deliver.
PRELUDE = """\
import os, sys, time
from whisperr import Whisperr

URL = os.environ["UPGRADE_URL"]

def make(*key, **options):
    options = {"base_url": URL, "flush_interval": 3600, **options}
    return Whisperr(*(key or ["wrk_test"]), **options)

def describe(client):
    print("sends" if client.ready else "does nothing")

def wait(errors):
    # A thread reports, perhaps a moment after the call that caused it.
    end = time.monotonic() + 5
    while not errors and time.monotonic() < end:
        time.sleep(0.05)

def show(errors):
    wait(errors)
    print(*({f"{e.type} {e.status or ''}".strip(): 0 for e in errors} or ["not reported"]))

"""


@dataclass(frozen=True)
class Program:
    """A question and the code that answers it by what it prints, raises, or what then arrives.

    - `look`: shows what the server received, after what the program printed.
    - `faults`: what the server does wrong meanwhile.
    - `timed`: add the seconds that the process took, without those of an empty one.
    - `logs`: add what the process wrote to stderr.
    - `django`: the program needs Django.
    - `note`: what to do where the answers differ, or why they do.
    """

    question: str
    code: str
    note: str = ""
    look: Look | None = None
    faults: tuple[Fault, ...] = ()
    timed: bool = False
    logs: bool = False
    django: bool = False

    def to_text(self) -> str:
        """Return the whole program."""
        return PRELUDE + dedent(self.code)


@dataclass(frozen=True)
class Topic:
    """Programs about one subject; `text` introduces their table."""

    title: str
    text: str
    programs: tuple[Program, ...]
