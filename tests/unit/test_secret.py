"""No log, pickle or crash report contains the key."""

from __future__ import annotations

import copy
import pickle
import traceback
from typing import Any

import pytest

from whisperr import Whisperr
from whisperr._secret import Secret

KEY = "wrk_5ecret"


def report_crash(error: BaseException) -> str:
    """Return the report of a crash reporter: every frame below the caller, with its variables."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    del report.stack[0]  # the test itself, which knows the key
    return "".join(report.format())


@pytest.mark.parametrize(
    "options",
    [
        {"flush_at": 0},
        {"base_url": "ftp://example.com"},
        {"on_error": 7},
        {"api_key": f"{KEY}\r\nX-Evil: 1"},
        {"api_key": KEY.encode()},
    ],
    ids=repr,
)
def test_no_frame_of_a_refused_construction_holds_the_key(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must") as raised:
        Whisperr(**{"api_key": KEY, **options})
    text = report_crash(raised.value)
    assert "_client.py" in text
    assert "5ecret" not in text


@pytest.mark.parametrize("act", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_client_and_a_key_are_neither_pickled_nor_copied(act: Any) -> None:
    with Whisperr(KEY) as client, pytest.raises(TypeError, match="cannot be copied or pickled"):
        act(client)
    with pytest.raises(TypeError, match="cannot be pickled"):
        act(Secret(KEY))


def test_only_reveal_returns_the_key() -> None:
    secret = Secret(f" {KEY}\n")
    assert secret.reveal() == KEY
    assert repr(secret) == str(secret) == f"{secret}" == "Secret('***')"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (KEY, None),
        (None, "none given"),
        ("", "is empty"),
        (" \n", "is empty"),
        ("wrk 1", "must not contain"),
        ("wrk_\x00", "must not contain"),
        ("wrk_é", "must not contain"),
        (b"wrk_1", "must be a string, got bytes"),
        (7, "must be a string, got int"),
    ],
)
def test_what_is_wrong_with_a_key_is_said(given: object, problem: str | None) -> None:
    found = Secret(given).problem
    assert found is None if problem is None else (found or "").startswith(problem)
