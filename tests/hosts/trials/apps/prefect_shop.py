"""A flow of Prefect that has not ended when the signal comes.

With the argument `call` it calls the flow, and with `serve` it serves the flow. Without arguments
it orders a run from what serves the flow.
"""

from __future__ import annotations

import sys
from threading import Event

from prefect import flow, task
from prefect.deployments import run_deployment

from tests.hosts.trials.apps import prefect_client

# Far longer than any trial.
LONG = 600.0
# The page's lines stand here.


@task
def pay() -> None:
    prefect_client.whisperr.track("user_8842", "payment_failed")
    Event().wait(LONG)


@flow
def shop() -> None:
    pay()


if __name__ == "__main__":
    if sys.argv[1:] == ["call"]:
        shop()
    elif sys.argv[1:] == ["serve"]:
        shop.serve("shop")
    else:
        shop.to_deployment("shop").apply()
        run_deployment("shop/shop", timeout=0)
