"""docs/reference/contract.md and the code state the same facts, wherever both state one."""

from __future__ import annotations

import inspect
import re
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, get_args

import pytest

from tests.docs.page import ROOT, get_text
from whisperr import InvalidEvent, Whisperr, _contract, billing
from whisperr._delivery.backoff import parse_retry_after
from whisperr._delivery.verdict import EXTRA_AT_ONCE
from whisperr._process.imports import json_loads
from whisperr._secret import Secret
from whisperr.dev._ingest.validation import validate_event, validate_identify
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = get_text("docs/reference/contract.md")
EXAMPLES = [json_loads()(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
# "CONTRACT, Event" cites a section, "(CONTRACT: capped at 60 s)" a fact.
CITATION = re.compile(r"CONTRACT(?:, (?P<section>\w+))?(?:: (?P<fact>[^)\n\"]+))?")


def get_rows(heading: str) -> list[list[str]]:
    """Return the cells of the tables below a heading, up to the next one."""
    text = re.split(r"^#+ ", PAGE.split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[1:]]


def send(call: Callable[[Whisperr], object], **options: Any) -> list[dict[str, Any]]:
    """Return what one call of a client sends, decoded."""
    transport = MemoryTransport()
    with Whisperr("wrk_test", transport=transport, strict=True, **options) as client:
        call(client)
    return [event for request in transport.sent for event in request.events]


def is_accepted(call: Callable[[Whisperr], object]) -> bool:
    try:
        return len(send(call)) == 1
    except InvalidEvent:
        return False


def get_names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_addresses_and_the_limits_are_those_of_the_code() -> None:
    assert f"The base URL is `{_contract.BASE_URL}`" in PAGE
    for path in (_contract.EVENTS_PATH, _contract.IDENTIFY_PATH):
        assert f"| `POST {path}` |" in PAGE
    most = 2 * _contract.MAX_BATCH_EVENTS - 2
    assert f"for one batch has a limit, {most} for {_contract.MAX_BATCH_EVENTS} events" in PAGE
    assert f"past the first {EXTRA_AT_ONCE} each waits" in PAGE
    assert f"capped at {parse_retry_after('3600', 0.0):g} s" in PAGE


# What the page says of each limit of the code.
LIMITS = {
    "MAX_BATCH_EVENTS": f"1 to {_contract.MAX_BATCH_EVENTS} events",
    "MAX_BATCH_BYTES": f"A batch has at most {_contract.MAX_BATCH_BYTES // 1024} KiB",
    "MAX_AGE_DAYS": f"Accepted from {_contract.MAX_AGE_DAYS} days ago",
    "MAX_ANONYMOUS_ID_CHARS": f"1 to {_contract.MAX_ANONYMOUS_ID_CHARS} characters",
}


def test_every_limit_of_the_code_is_on_the_page() -> None:
    assert set(LIMITS) == {name for name in vars(_contract) if name.startswith("MAX_")}
    assert [name for name, sentence in LIMITS.items() if sentence not in PAGE] == []


def test_the_headers_are_those_of_the_code() -> None:
    rows = {get_names(name)[0]: value for name, value in get_rows("Headers")}
    sent = _contract.get_headers("the key", "<version>")
    assert {name: value.strip("`") for name, value in rows.items()} == sent


def test_the_prefix_of_a_publishable_key_is_that_of_the_code() -> None:
    kinds = {get_names(prefix)[0]: kind for prefix, kind in get_rows("Keys")}
    for prefix, kind in kinds.items():
        assert Secret(f"{prefix}1").is_publishable is kind.startswith("a publishable key")
    assert len(kinds) == 2


def test_an_event_has_the_keys_of_the_page() -> None:
    (event,) = send(
        lambda client: client.track("user_8842", "seen", {}, {"$occurrence_key": "x"}),
        app_version="2",
        test_mode=True,
    )
    keys = {get_names(row[0])[0] for row in get_rows("Event")}
    assert set(event) == keys == set(EXAMPLES[0])
    context = {name for row in get_rows("Keys of `context`") for name in get_names(row[0])}
    assert set(event["context"]) == context - {"platform", "app_build", "locale"}
    assert _contract.RESERVED_CONTEXT_KEY in context
    assert event["context"]["sdk_name"] == EXAMPLES[0]["context"]["sdk_name"]


def test_an_identify_has_the_keys_of_the_page() -> None:
    example = EXAMPLES[1]
    user = example["external_user_id"]
    given = {name: value for name, value in example.items() if name != "external_user_id"}
    (identify,) = send(lambda client: client.identify(user, **given))
    assert identify == example
    assert {get_names(row[0])[0] for row in get_rows("Identify")} == set(given)
    parameters = list(inspect.signature(Whisperr.identify).parameters)[2:]
    assert set(parameters) - {"email", "phone", "push_token"} == set(given)


@pytest.mark.parametrize(("more", "accepted"), [(0, True), (1, False)])
def test_an_anonymous_id_has_the_length_of_the_page(more: int, *, accepted: bool) -> None:
    handle = "x" * (_contract.MAX_ANONYMOUS_ID_CHARS + more)
    assert is_accepted(lambda client: client.identify("ada", anonymous_id=handle)) is accepted
    body = {"external_user_id": "ada", "anonymous_id": handle}
    assert (validate_identify(body) == []) is accepted


@pytest.mark.parametrize(("more", "accepted"), [(-0.01, True), (0.01, False)])
def test_an_event_may_be_as_old_as_the_page_says(more: float, *, accepted: bool) -> None:
    then = datetime.now(timezone.utc) - timedelta(days=_contract.MAX_AGE_DAYS + more)
    assert is_accepted(lambda client: client.track("ada", "seen", occurred_at=then)) is accepted
    event = {**EXAMPLES[0], "occurred_at": f"{then:%Y-%m-%dT%H:%M:%S}.000Z"}
    assert (validate_event(event, time.time()) == []) is accepted


def test_the_closed_lists_of_channels_are_those_of_the_code() -> None:
    rows = {name: rule for key, rule in get_rows("Channels") for name in get_names(key)}
    assert tuple(get_names(rows["channel"])[:3]) == _contract.CHANNELS
    assert set(rows) == {"channel", "address", "opted_in", "verified", *_contract.PUSH_FIELDS}
    for name, allowed in _contract.PUSH_FIELDS.items():
        assert tuple(get_names(rows[name])) == allowed
    preferred = dict(get_rows("Identify"))["`preferred_channel`"]
    assert tuple(get_names(preferred)) == _contract.CHANNELS


def get_statuses(answer: str) -> list[int | None]:
    """Return the statuses that a cell names: all hundred of a `5xx`, None for no answer."""
    statuses: list[int | None] = [None] if "no answer" in answer else []
    for name in get_names(answer):
        first = int(name.replace("xx", "00"))
        statuses += range(first, first + (100 if "xx" in name else 1))
    return statuses


def test_every_status_has_the_class_of_the_page() -> None:
    readings = get_rows("Where the contract is silent")
    rows = [*get_rows("Answers"), *readings]
    expected: dict[int | None, str] = dict.fromkeys(range(400, 500), _contract.DROP)
    for answer, name, _ in rows:
        if answer != "any other `4xx`":
            expected.update(dict.fromkeys(get_statuses(answer), name))
    assert {status: _contract.classify(status) for status in expected} == expected
    assert set(expected) == {None, *range(100, 600)}


def test_the_billing_events_and_their_properties_are_those_of_the_code() -> None:
    rows = get_rows("Reserved billing events")
    names = {value for key, value in vars(billing.BillingEvent).items() if key.isupper()}
    assert {get_names(row[0])[0] for row in rows} == names
    shared = set(billing.SubscriptionEvent._fields)
    assert all(f"`{name}`" in PAGE.split("Any of them may have")[1] for name in shared)
    for event, _, own in rows:
        (name,) = get_names(event)
        kind = getattr(billing, "".join(word.title() for word in name.split("_")))
        assert kind.event_type == name
        assert set(get_names(own)) == set(kind._fields) - shared, name


@pytest.mark.parametrize("name", ["StoreCancelReason", "EndReason", "AccessSource"])
def test_a_closed_list_of_billing_is_that_of_the_code(name: str) -> None:
    lists = {
        get_names(key)[0]: tuple(get_names(values)) for key, values in get_rows("Closed lists")
    }
    snake = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    assert lists[snake] == get_args(getattr(billing, name))
    assert len(lists) == 3


def test_every_citation_of_the_code_finds_its_section_and_its_figures() -> None:
    cited = 0
    for path in sorted((ROOT / "src").rglob("*.py")):
        for found in CITATION.finditer(path.read_text(encoding="utf-8")):
            section, fact = found["section"], found["fact"] or ""
            assert section is None or f"# {section}\n" in PAGE, (path, found[0])
            for figure in re.findall(r"`[^`]+`|\b\d+\b", fact):
                assert figure in PAGE, (path, found[0])
            cited += 1
    assert cited > 5
