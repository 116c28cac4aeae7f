"""Case 10: cases 2 to 5 at a tenth and at ten times the load; an event must not cost more."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from benchmarks.case import Case, Figure, Variant
from benchmarks.packages import PACKAGES

if TYPE_CHECKING:
    from typing import Any

    from benchmarks.client import Adapter

FACTORS = (0.1, 1, 10)
# Ten times the rate for as long would be 100,000 events; two seconds are enough.
_SECONDS_AT_TEN = 2


def measure(adapter: Adapter, url: str, given: dict[str, Any]) -> dict[str, float]:
    """Measure as the named case does."""
    figures: dict[str, float] = _module(given["case"]).measure(adapter, url, given)
    return figures


def _module(name: str) -> Any:  # noqa: ANN401  # a module
    return importlib.import_module(f"benchmarks.cases.{name}")


def _grown(name: str, factor: float) -> Variant:
    module = _module(name)
    original: Variant = module.CASE.full[""]
    more = {"seconds": _SECONDS_AT_TEN} if name == "steady" and factor > 1 else {}
    given = {"case": name, **module.at(factor, **more)}
    return original._replace(given=given, limit=max(original.limit, 300.0))


def _make_growth_case(name: str) -> Case:
    module = _module(name)
    figure: Figure = next(one for one in module.CASE.figures if one.name == module.COST)
    return Case(
        title=f"Growth: {module.CASE.title}",
        about=f"{figure.label} at a tenth of the load, at the load, and at ten times the load.",
        figures=(figure,),
        full={f"{factor:g} times": _grown(name, factor) for factor in FACTORS},
        quick={},
        module="growth",
        rows=PACKAGES[:2],  # ten times the load takes other packages minutes
        rounds=1,
    )


CASES = {
    f"growth_{name}": _make_growth_case(name)
    for name in ("burst", "steady", "throughput", "memory", "slowdown")
}
