"""Figures as a run of the benchmarks keeps them."""

from __future__ import annotations

from typing import Any

from benchmarks.packages import OURS, PUBLISHED

MACHINE: dict[str, object] = {
    "python": "CPython 3.11",
    "system": "Linux",
    "processor": "one",
    "cores": 2,
    "versions": {},
}


def measured(rate: float, lost: int = 0, **figures: float) -> dict[str, list[float]]:
    more = {name: [value] for name, value in figures.items()}
    return {"rate": [rate], "cpu": [1.0], "lost": [lost], "doubled": [0], **more}


def to_table(**rows: dict[str, list[float]]) -> dict[str, Any]:
    return {"": {"values": rows, "unavailable": {}}}


VARIANTS: dict[str, Any] = {
    "": {
        "values": {
            OURS: measured(4000, times=3.0),
            PUBLISHED: measured(1000, times=5.0),
            "PostHog": measured(9000, lost=7, times=2.0),
        },
        "unavailable": {"Sentry": "cannot be installed: no\nwheel"},
    }
}
