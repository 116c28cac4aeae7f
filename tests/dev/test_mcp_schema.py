"""The schemas of the tools, and the check of arguments against them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from tests.dev.mcp_wire import TOOLS
from whisperr.dev import Fault
from whisperr.dev._mcp.definitions import DEFINITIONS, MAX_WAIT
from whisperr.dev._mcp.schema import find_problem

FIRST = "limit: must be a whole number from 1 to 100, got "
KINDS = "status, latency, hang, cut, lose_answer, drip, legacy"
FILTERS = "kind, user, type, status, q, after"

# Tool, arguments, and the problem that is named; None if there is none.
CASES: list[tuple[str, Any, str | None]] = [
    ("arrivals", {}, None),
    ("arrivals", {"limit": 1}, None),
    ("arrivals", {"limit": 100.0}, None),  # a whole number, as JSON has it
    ("arrivals", {"limit": 0}, f"{FIRST}0"),
    ("arrivals", {"limit": 101}, f"{FIRST}101"),
    ("arrivals", {"limit": 1.5}, f"{FIRST}1.5"),
    ("arrivals", {"limit": "20"}, f'{FIRST}"20"'),
    ("arrivals", {"limit": True}, f"{FIRST}true"),
    ("arrivals", {"limit": None}, f"{FIRST}null"),
    ("arrivals", {"limit": float("inf")}, f"{FIRST}Infinity"),
    ("arrivals", {"limit": 10**400}, f"{FIRST}1{'0' * 59}"),
    ("arrivals", {"kind": "track"}, 'kind: must be one of event, identify, got "track"'),
    ("arrivals", {"user": 42}, "user: must be a string of at most 2000 characters, got 42"),
    ("arrivals", {"user": "u" * 2000}, None),
    ("arrivals", {"limits": 3}, f"limits: unknown; allowed: {FILTERS}, limit"),
    ("arrivals", {"a\nb": 3}, f"a\\nb: unknown; allowed: {FILTERS}, limit"),
    ("arrivals", {"after": -1}, f"after: must be a whole number from 0 to {2**53 - 1}, got -1"),
    ("types", {}, None),
    ("types", {"kind": "event"}, "kind: unknown; allowed: nothing"),
    ("explain_refusal", {"seq": 1}, None),
    ("explain_refusal", {"seq": []}, "seq: must be a whole number from 1 to"),
    ("wait_for", {"timeout": 0}, None),
    ("wait_for", {"timeout": MAX_WAIT}, None),
    ("wait_for", {"timeout": 51}, "timeout: must be a number from 0 to 50, got 51"),
    ("wait_for", {"status": "valid"}, "status: must be one of accepted, duplicate, refused, got"),
    ("set_faults", {"faults": []}, None),
    ("set_faults", {"faults": [{"kind": "hang", "times": None}]}, None),
    ("set_faults", {}, "faults: is missing; must be a list of at most 20 items"),
    ("set_faults", {"faults": {}}, "faults: must be a list of at most 20 items, got an object"),
    ("set_faults", {"faults": [{"kind": "cut"}] * 21}, "faults: must be a list of at most 20"),
    ("set_faults", {"faults": ["hang"]}, "faults[0]: must be an object with kind, rate, times,"),
    ("set_faults", {"faults": [{}]}, f"faults[0].kind: is missing; must be one of {KINDS}"),
    ("set_faults", {"faults": [{"kind": "die"}]}, f"faults[0].kind: must be one of {KINDS}, got"),
    (
        "set_faults",
        {"faults": [{"kind": "cut"}, {"kind": "cut", "rate": 0}]},
        "faults[1].rate: must be a number above 0 and at most 1, got 0",
    ),
    (
        "set_faults",
        {"faults": [{"kind": "cut", "times": 0}]},
        f"faults[0].times: must be a whole number from 1 to {2**53 - 1} or null, got 0",
    ),
    ("set_faults", {"faults": [{"kind": "cut", "x": 1}]}, "faults[0].x: unknown; allowed: kind,"),
    ("types", [], "the arguments: must be an object with nothing in it, got a list of 0 items"),
]


@pytest.mark.parametrize(("tool", "arguments", "problem"), CASES)
def test_the_first_problem_says_where_it_is_and_what_is_allowed(
    tool: str, arguments: Any, problem: str | None
) -> None:
    found = find_problem(arguments, DEFINITIONS[tool]["inputSchema"])
    if problem is None:
        assert found is None
    else:
        assert (found or "").startswith(problem)


@pytest.mark.parametrize(("tool", "arguments", "problem"), CASES)
def test_a_full_validator_of_the_published_schema_agrees(
    tool: str, arguments: Any, problem: str | None
) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(DEFINITIONS[tool]["inputSchema"])
    assert validator.is_valid(arguments) == (problem is None)


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("name", ["inputSchema", "outputSchema"])
def test_the_schemas_are_valid_and_closed(tool: str, name: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = DEFINITIONS[tool][name]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert (schema["type"], schema["additionalProperties"]) == ("object", False)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_and_all_its_arguments_are_described(tool: str) -> None:
    definition = DEFINITIONS[tool]
    assert definition["name"] == tool
    assert definition["title"] == definition["annotations"]["title"]
    assert definition["description"].endswith(".")
    assert definition["annotations"]["openWorldHint"] is False
    assert definition["annotations"]["readOnlyHint"] is (tool != "set_faults")
    for schema in definition["inputSchema"]["properties"].values():
        assert schema["description"].endswith(".")


def test_the_fields_of_a_fault_are_those_of_the_code() -> None:
    items = DEFINITIONS["set_faults"]["inputSchema"]["properties"]["faults"]["items"]
    assert list(items["properties"]) == [field.name for field in fields(Fault)]
