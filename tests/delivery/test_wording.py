"""The line of each report: what happened, the fate of the events, and the next step."""

from __future__ import annotations

from typing import get_args

import pytest

from whisperr import errors
from whisperr._delivery.wording import compose, describe_kept, to_fate

NOT_ACCEPTED = ("invalid", "closed", "not_stored")


def get_literals(name: str) -> tuple[str, ...]:
    """Return the values of a type that exists for type checkers only."""
    import ast
    import inspect

    for node in ast.walk(ast.parse(inspect.getsource(errors))):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            found: tuple[str, ...] = get_args(
                eval(ast.unparse(node.value), vars(__import__("typing")))
            )
            return found
    raise LookupError(name)


@pytest.mark.parametrize("reason", get_literals("Reason"))
def test_every_loss_says_how_many_and_what_to_do(reason: str) -> None:
    line = compose("dropped", reason, "why", 2, 0, "")  # type: ignore[arg-type]
    fate = "not accepted" if reason in NOT_ACCEPTED else "dropped"
    start = f"why; 2 events {fate} ({reason}); "
    assert line.startswith(start)
    assert len(line) > len(start) + 10
    assert "\n" not in line


def test_a_mistake_of_before_send_is_corrected_in_that_function() -> None:
    message = "track: before_send: raised ZeroDivisionError (at app.py:4)"
    assert compose("dropped", "invalid", message, 1, 0, "") == (
        f"{message}; 1 event not accepted (invalid); "
        "correct the function that is passed as before_send"
    )


def test_an_event_without_its_default_properties_is_accepted() -> None:
    message = "track: default_properties: raised KeyError (at app.py:4)"
    assert compose("incomplete", None, message, 3, 1, "") == (
        f"{message}; 3 events accepted without it, 1 of them with other messages; "
        "correct the default_properties or the scope"
    )


@pytest.mark.parametrize("kind", sorted({*get_literals("ErrorType")} - {"dropped", "incomplete"}))
def test_every_report_of_kept_events_says_that_they_are(kind: str) -> None:
    line = compose(kind, None, "why", 1, 0, "")  # type: ignore[arg-type]
    assert line.startswith("why; ")
    assert "kept" in line
    assert line.endswith('; run "whisperr doctor"')


@pytest.mark.parametrize(
    ("wait", "stored", "fate"),
    [
        (0.55, False, "kept, next attempt in 0.6 s; do it"),
        (1.5, False, "kept, next attempt in 2 s; do it"),
        (30.0, True, "kept, next attempt in 30 s; do it"),
        (None, True, "kept in the store for the next process; do it"),
        (None, False, "not delivered before the shutdown ends; do it"),
    ],
)
def test_what_becomes_of_events_whose_delivery_failed(
    wait: float | None, stored: bool, fate: str
) -> None:
    assert to_fate(wait, "do it", stored=stored) == fate


@pytest.mark.parametrize(
    ("reason", "where"), [("closed", "at other call sites"), ("rejected", "with other messages")]
)
def test_a_summary_says_how_its_other_events_differ(reason: str, where: str) -> None:
    line = compose("dropped", reason, "why", 5, 4, "do it")  # type: ignore[arg-type]
    assert line.endswith(f"({reason}), 4 of them {where}; do it")


@pytest.mark.parametrize(
    ("hint", "kept", "message", "then"),
    [
        ("", None, "why", ""),
        ("do it", None, "why", "do it"),
        ("", "kept there; look", "why", "kept there; look"),
        ("do it", "kept there; look", "why", "kept there; look; do it"),
        (
            "do it",
            "",
            "why; not kept as a dead letter, because the buffer cannot store it now",
            "do it",
        ),
    ],
)
def test_a_loss_says_whether_it_is_kept(
    hint: str, kept: str | None, message: str, then: str
) -> None:
    assert describe_kept("why", hint, kept) == (message, then)
