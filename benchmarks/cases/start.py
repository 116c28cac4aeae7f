"""Case 1: what importing costs, and the time until the first event is tracked."""

from __future__ import annotations

from benchmarks.case import Case, Figure, Variant

CASE = Case(
    title="Start",
    about=(
        "`import` in a fresh interpreter, over the bare one; then a client and one `track()`. "
        "The byte code is there already."
    ),
    figures=(
        Figure("import", "import", "ms"),
        Figure("first", "import to first track() done", "ms"),
        Figure("memory", "memory", "MB"),
        Figure("modules", "loaded with it", "modules", digits=0),
    ),
    full={"": Variant({})},
    quick={"": Variant({})},
    program="all",
    plot="import",
)
