"""Injected faults: how they are written, validated and picked."""

from __future__ import annotations

from typing import Any

import pytest

from whisperr.dev import Fault, faults

PATH = "/v1/events/batch"


def kinds(injector: faults.FaultInjector, requests: int, path: str = PATH) -> list[list[str]]:
    return [[fault.kind for fault in injector.pick(path)] for _ in range(requests)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "boom"}, "kind='boom'"),
        ({"kind": "hang", "rate": 0}, "rate=0"),
        ({"kind": "hang", "rate": 1.1}, "rate=1.1"),
        ({"kind": "hang", "rate": "1"}, "rate='1'"),
        ({"kind": "hang", "times": 0}, "times=0"),
        ({"kind": "hang", "times": True}, "times=True"),
        ({"kind": "status", "code": 202}, "code=202"),
        ({"kind": "status", "code": 600}, "code=600"),
        ({"kind": "latency", "seconds": -1}, "seconds=-1"),
        ({"kind": "status", "retry_after": "1\r\nX: y"}, "retry_after="),
        ({"kind": "status", "location": 7}, "location=7"),
        ({"kind": "hang", "path": 1}, "path=1"),
    ],
)
def test_a_wrong_value_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="must be") as raised:
        Fault(**values)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("given", [{}, [], {"kind": "hang", "speed": 1}, "hang"])
def test_json_that_is_not_a_fault_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match=r"kind|unknown"):
        Fault.from_json(given)


@pytest.mark.parametrize(
    "fault",
    [
        faults.status(429, retry_after=3, rate=0.5),
        faults.latency(0.1),
        faults.hang(times=2),
        faults.cut(),
        faults.lose_answer(path=PATH),
        faults.drip(0.01),
        faults.wrong_key(),
        faults.legacy(),
    ],
)
def test_a_fault_survives_its_json(fault: Fault) -> None:
    assert Fault.from_json(fault.to_json()) == fault


def test_a_wrong_key_is_a_401() -> None:
    assert faults.wrong_key().code == 401


def test_times_bounds_how_often_a_fault_is_injected() -> None:
    injector = faults.FaultInjector([faults.hang(times=2)])
    assert kinds(injector, 4) == [["hang"], ["hang"], [], []]


def test_setting_faults_resets_their_counts() -> None:
    injector = faults.FaultInjector([faults.hang(times=1)])
    assert kinds(injector, 2) == [["hang"], []]
    injector.set([faults.hang(times=1)])
    assert kinds(injector, 2) == [["hang"], []]


def test_delays_and_modes_join_the_first_failure() -> None:
    injector = faults.FaultInjector(
        [faults.latency(0.0), faults.legacy(), faults.cut(), faults.hang()]
    )
    assert kinds(injector, 1) == [["latency", "legacy", "cut"]]


def test_a_fault_with_a_path_meets_only_that_path() -> None:
    injector = faults.FaultInjector([faults.lose_answer(path=PATH, times=1)])
    assert kinds(injector, 1, "/v1/identify") == [[]]
    assert kinds(injector, 1) == [["lose_answer"]]


def test_a_rate_meets_its_share_and_the_same_seed_the_same_requests() -> None:
    runs = [kinds(faults.FaultInjector([faults.cut(rate=0.3)], seed=7), 1000) for _ in range(2)]
    assert runs[0] == runs[1]
    assert 200 < sum(map(len, runs[0])) < 400
