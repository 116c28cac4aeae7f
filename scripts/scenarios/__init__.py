"""Lists what can happen to a client, what is promised then, and the tests that show it.

Data only: `reliability.py` runs the tests and writes docs/about/reliability.md. A test compares
the page with these modules and checks that every named test exists. The page has the groups in
this order.
"""

from __future__ import annotations

from scripts.scenarios.diagnosis import DIAGNOSIS
from scripts.scenarios.faults import FAULTS
from scripts.scenarios.integrations import INTEGRATIONS
from scripts.scenarios.lifecycle import LIFECYCLE
from scripts.scenarios.scenario import Scenario
from scripts.scenarios.stores import STORES

__all__ = ["SCENARIOS", "Scenario"]

SCENARIOS: dict[str, tuple[Scenario, ...]] = {
    **LIFECYCLE,
    **FAULTS,
    **STORES,
    **INTEGRATIONS,
    **DIAGNOSIS,
}
