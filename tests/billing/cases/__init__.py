"""The webhooks of each provider, with what they mean: one module for each.

The payloads are our own, modelled on what the providers document. Each module has `CASES`.
"""

from __future__ import annotations

import importlib
import pkgutil
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from whisperr.billing import Signals

# When webhooks happened, unless a case says otherwise: the server accepts the last 30 days only.
NOW = (datetime.now(timezone.utc) - timedelta(days=2)).replace(microsecond=0)


class Case(NamedTuple):
    """One webhook.

    - `sentence`: what is special, which is the name of the test.
    - `payload`: the webhook as a dict.
    - `expected`: the properties of each signal by its event type, in order; exactly these.
    - `reason`: a part of the first reason in `skipped`; "" if nothing is skipped.
    - `previous`: the stored state. `arguments`: other arguments of `signals`.
    - `occurrences`: the `$occurrence_key` by event type, where the case is about it.
    """

    sentence: str
    payload: dict[str, Any]
    expected: Mapping[str, Mapping[str, object]] = {}
    reason: str = ""
    previous: Mapping[str, Any] | None = None
    arguments: Mapping[str, Any] = {}
    occurrences: Mapping[str, str] = {}


class Provider(NamedTuple):
    """A provider with its cases."""

    name: str
    cases: list[Case]

    def get_signals(self, case: Case, payload: object = None, **changes: Any) -> Signals:
        """Return what a case, or another payload with the arguments of a case, means."""
        module = importlib.import_module(f"whisperr.billing.{self.name}")
        given = {"previous": case.previous, **case.arguments, **changes}
        found: Signals = module.signals(case.payload if payload is None else payload, **given)
        return found


def get_providers() -> list[Provider]:
    """Return the providers that have a module here."""
    names = sorted(one.name for one in pkgutil.iter_modules(__path__))
    return [Provider(name, importlib.import_module(f"{__name__}.{name}").CASES) for name in names]
