"""The measured process: one case, one package, one round. Prints its figures as one line of JSON.

python -m benchmarks.child CASE ADAPTER URL GIVEN
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time


def main() -> None:
    """Measure, print, and exit as an application does, or at once if the case asks for it."""
    case, adapter, url, given = sys.argv[1:5]
    module = importlib.import_module(f"benchmarks.cases.{case}")
    package = importlib.import_module(f"benchmarks.adapters.{adapter}")
    figures = module.measure(package, url, json.loads(given))
    figures["ended_ns"] = time.monotonic_ns()
    print(json.dumps(figures), flush=True)
    if figures.get("at_once"):
        os._exit(0)  # this case does not measure the delivery of held events


if __name__ == "__main__":
    main()
