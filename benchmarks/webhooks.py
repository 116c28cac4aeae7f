"""The command `python -m benchmarks.webhooks`: how many webhooks a core maps in a second.

It maps the payloads of the tests, as dictionaries and as JSON, by provider. The best of several
rounds counts: others use the machine as well.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from tests.billing.cases import get_providers

if TYPE_CHECKING:
    from tests.billing.cases import Case, Provider

ROUNDS = 7
ROUND_SECONDS = 0.3


def measure(provider: Provider, payloads: list[tuple[Case, object]]) -> float:
    """Return the webhooks a second of the best round."""
    best = 0.0
    for _ in range(ROUNDS):
        count, began = 0, time.perf_counter()
        while (spent := time.perf_counter() - began) < ROUND_SECONDS:
            for case, payload in payloads:
                provider.get_signals(case, payload)
            count += len(payloads)
        best = max(best, count / spent)
    return best


def main() -> None:
    """Print a line for each provider."""
    print(f"{'provider':<14}{'dicts':>10}{'JSON':>10}   webhooks a second")
    for provider in get_providers():
        dicts: list[tuple[Case, object]] = [(case, case.payload) for case in provider.cases]
        texts: list[tuple[Case, object]] = [
            (case, json.dumps(case.payload).encode()) for case in provider.cases
        ]
        rates = measure(provider, dicts), measure(provider, texts)
        print(f"{provider.name:<14}{rates[0]:>10,.0f}{rates[1]:>10,.0f}")


if __name__ == "__main__":
    main()
