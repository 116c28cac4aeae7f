"""Case 1: what importing costs, and the time until the first event is tracked."""

from __future__ import annotations

from benchmarks.case import Case, Figure, Variant

CASE = Case(
    title="Start",
    about=(
        "What `import` adds to a bare interpreter, with the byte code already compiled; then "
        "creating a client and one `track()`."
    ),
    figures=(
        Figure("import", "import", "ms"),
        Figure("first", "import, client and first `track()`", "ms"),
        Figure("memory", "memory", "MB"),
        Figure("modules", "modules loaded", "", digits=0),
    ),
    full={"": Variant({})},
    quick={"": Variant({})},
    program="all",
    plot="import",
)
