"""Cases 1 and 3 in instructions, which the noise of a machine does not change.

`measure` runs the same program twice under callgrind, the second time with more events, and takes
the difference. Nothing is timed here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks.case import Case, Figure, Variant
from benchmarks.event import make_properties
from benchmarks.packages import PACKAGES

if TYPE_CHECKING:
    from typing import Any

    from benchmarks.client import Adapter

EVENTS = 500
_START = "from benchmarks.start_child import main; main()"
_DELIVER = "from benchmarks.cases.instructions import deliver; deliver()"
_COLLECTED = re.compile(r"Collected *: *([0-9]+)")


def measure(adapter: Adapter, url: str, given: dict[str, Any]) -> dict[str, Any]:
    """Count the instructions of the import, then of tracking and delivering events."""
    if shutil.which("valgrind") is None:
        return {"unavailable": "valgrind is not installed"}
    name = adapter.__name__.rpartition(".")[2]  # type: ignore[attr-defined]  # adapters are modules
    events = given["events"]
    bare, loaded = (_count(_START, mode, name, url, "{}") for mode in ("bare", "import"))
    few, many = (_count(_DELIVER, name, url, str(n)) for n in (events, 3 * events))
    return {
        "import": (loaded - bare) / 1e6,
        "event": (many - few) / (2 * events) / 1e3,
        "expected": 3 * events,
    }


def _count(*command: str) -> int:
    """Return the instructions of a Python process, in all of its threads."""
    ended = subprocess.run(
        [
            *("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"),
            *(sys.executable, "-c", *command),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    found = _COLLECTED.search(ended.stderr)
    if found is None:
        raise ValueError(f"no count in {ended.stderr[-500:]!r}")
    return int(found.group(1))


def deliver() -> None:
    """Track this many events and flush; runs under callgrind."""
    import importlib

    name, url, events = sys.argv[1:4]
    client = importlib.import_module(f"benchmarks.adapters.{name}").start(url, 10_000)
    for number in range(int(events)):
        client.track(make_properties(number))
    client.flush()


CASE = Case(
    title="Instructions",
    about=(
        "Instructions counted by callgrind, which the noise of a machine does not change: what "
        f"`import` adds to a bare interpreter, and tracking and delivering {EVENTS * 2:,} events, "
        "as the difference of two runs."
    ),
    figures=(
        Figure("event", "event, with delivery", "thousand instructions"),
        Figure("import", "import", "million instructions"),
    ),
    full={"": Variant({"events": EVENTS}, limit=900.0, counted=False)},
    quick={},
    rows=PACKAGES[:2],  # a package takes minutes under callgrind
    rounds=1,
)
