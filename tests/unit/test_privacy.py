"""`redact` replaces what its names and its pattern say, and nothing else."""

from __future__ import annotations

import copy
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import whisperr
from whisperr import Whisperr
from whisperr._contract import OWN_CONTEXT_KEYS
from whisperr.privacy import redact
from whisperr.testing import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Iterator

GONE = "[redacted]"
EMAIL = r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
OWN = {
    "$message_id": "4111111111111111",
    "$mode": "test",
    "app_version": "ada@example.com",
    "sdk_name": "whisperr-python",
    "sdk_version": "1.0.0",
}


def make_event(properties: Any, context: Any = None) -> dict[str, Any]:
    return {
        "event_type": "email",
        "external_user_id": "ada@example.com",
        "occurred_at": "2026-11-29T10:00:00.000Z",
        "properties": properties,
        "context": {**OWN, **(context or {})},
    }


def clean(names: tuple[str, ...], properties: Any, **more: Any) -> Any:
    return redact(*names, **more)(make_event(properties))["properties"]


class TestNames:
    @pytest.mark.parametrize(
        ("names", "before", "after"),
        [
            (("email",), {"email": "a", "n": 1}, {"email": GONE, "n": 1}),
            (("email",), {"Email": "a", "EMAIL": 1}, {"Email": GONE, "EMAIL": GONE}),
            (("EMAIL",), {"email": None}, {"email": GONE}),
            (("email",), {"emails": ["a"], "my_email": "a"}, {"emails": ["a"], "my_email": "a"}),
            (("email",), {"email": {"deep": [1, 2]}}, {"email": GONE}),
            (("email",), {"a": {"b": {"email": "x"}}}, {"a": {"b": {"email": GONE}}}),
            (("email",), {"a": [[{"email": "x"}], "y"]}, {"a": [[{"email": GONE}], "y"]}),
            (("email", "ip"), {"email": 1, "ip": 2, "n": 3}, {"email": GONE, "ip": GONE, "n": 3}),
            (("*.ssn",), {"ssn": 1, "a": {"ssn": 2}}, {"ssn": GONE, "a": {"ssn": GONE}}),
            (("a.ssn",), {"ssn": 1, "a": {"ssn": 2}}, {"ssn": 1, "a": {"ssn": GONE}}),
            (("a.ssn",), {"b": {"a": [{"ssn": 2}]}}, {"b": {"a": [{"ssn": GONE}]}}),
            (("a.ssn",), {"a": {"b": {"ssn": 2}}}, {"a": {"b": {"ssn": 2}}}),
            (("a.*.ssn",), {"a": {"b": {"ssn": 2}}}, {"a": {"b": {"ssn": GONE}}}),
            (("a.*",), {"a": {"b": {"c": 2}, "d": 1}}, {"a": {"b": GONE, "d": GONE}}),
            (("*_token",), {"api_token": 1, "token": 2}, {"api_token": GONE, "token": 2}),
            (("*pass*",), {"Password": 1, "n": 2}, {"Password": GONE, "n": 2}),
            (("properties.ip",), {"ip": 1, "a": {"ip": 2}}, {"ip": GONE, "a": {"ip": 2}}),
            (("user.email",), {"user.email": 1, "user": {}}, {"user.email": GONE, "user": {}}),
            (("email",), {"user.email": 1}, {"user.email": GONE}),
            (("user.*",), {"user.a.b": 1, "other": 2}, {"user.a.b": GONE, "other": 2}),
            (("a+b", "$ip"), {"a+b": 1, "aab": 2, "$ip": 3}, {"a+b": GONE, "aab": 2, "$ip": GONE}),
            (("*",), {"a": 1, "b": {"c": 2}}, {"a": GONE, "b": GONE}),
            (("prop*",), {"property": 1, "n": 2}, {"property": GONE, "n": 2}),
            (("*es",), {"yes": 1, "n": 2}, {"yes": GONE, "n": 2}),
            (("properties",), {"properties": 1, "n": 2}, {"properties": GONE, "n": 2}),
            (("prop*.n",), {"n": 1, "props": {"n": 2}}, {"n": 1, "props": {"n": GONE}}),
            (("Properties.n",), {"n": 1, "a": {"n": 2}}, {"n": GONE, "a": {"n": 2}}),
            (("properties.*",), {"a": 1, "b": {"c": 2}}, {"a": GONE, "b": GONE}),
            (("context.*", "context"), {"a": 1, "context": 2}, {"a": 1, "context": GONE}),
            (
                ("a*b*c",),
                {"abc": 1, "axbxbxc": 2, "acb": 3},
                {"abc": GONE, "axbxbxc": GONE, "acb": 3},
            ),
            (("*a*a*",), {"aa": 1, "xaxax": 2, "xax": 3}, {"aa": GONE, "xaxax": GONE, "xax": 3}),
            (("a**b",), {"ab": 1, "axb": 2, "a.b": 3}, {"ab": GONE, "axb": GONE, "a.b": 3}),
            (("email",), {"a": ({"email": 1},)}, {"a": [{"email": GONE}]}),
            (("email",), {}, {}),
        ],
    )
    def test_a_name_is_found_where_the_docstring_says(
        self, names: tuple[str, ...], before: Any, after: Any
    ) -> None:
        assert clean(names, before) == after

    def test_more_paths_than_are_remembered_are_compared_all_the_same(self) -> None:
        before_send = redact("email")
        for number in range(3_000):
            event = make_event({f"user_{number}": {"email": "x", "n": number}})
            assert before_send(event)["properties"] == {
                f"user_{number}": {"email": GONE, "n": number}
            }

    def test_a_long_key_with_nearly_a_name_takes_no_time(self) -> None:
        key = "card_" * 20_000 + "n"  # each part is found, 20,000 times, and the last is not
        assert clean(("*card*card*card*number",), {key: 1}) == {key: 1}

    def test_a_name_does_not_replace_the_whole_context(self) -> None:
        event = make_event({"free_text": "x"}, {"device": "ios", "text": "x"})
        changed = redact("*text", "cont*", "context")(event)
        assert changed == make_event({"free_text": GONE}, {"device": "ios", "text": GONE})


class TestPattern:
    @pytest.mark.parametrize("pattern", [EMAIL, re.compile(EMAIL)])
    def test_matches_are_replaced_within_texts_at_any_depth(self, pattern: Any) -> None:
        before = {"note": "to ada@example.com, bob@example.com", "a": [{"b": "ada@example.com"}, 7]}
        after = {"note": f"to {GONE}, {GONE}", "a": [{"b": GONE}, 7]}
        assert clean((), before, pattern=pattern) == after

    def test_an_empty_match_inserts_nothing(self) -> None:
        # Nothing in the text with which a pattern is tried has this name.
        assert clean((), {"n": "zoe, bob"}, pattern="(?=zoe)|bob") == {"n": f"zoe, {GONE}"}

    def test_flags_of_a_compiled_pattern_are_kept(self) -> None:
        assert clean((), {"n": "SECRET"}, pattern=re.compile("secret", re.IGNORECASE)) == {
            "n": GONE
        }
        assert clean((), {"n": "SECRET"}, pattern="secret") == {"n": "SECRET"}

    def test_a_replacement_is_text_and_no_template(self) -> None:
        assert clean(("a",), {"a": 1, "b": "x"}, pattern="(x)", replacement=r"\1\g<0>") == {
            "a": r"\1\g<0>",
            "b": r"\1\g<0>",
        }


class TestEvent:
    def test_no_other_key_of_the_event_and_of_the_client_changes(self) -> None:
        before_send = redact("*", "$message_id", "sdk_name", pattern=r"\d|@|test|email")
        event = make_event({"n": 1}, {"ip": "10.0.0.1", "a": {"sdk_name": "mine"}})
        changed = before_send(event)
        assert changed == make_event({"n": GONE}, {"ip": GONE, "a": GONE})

    def test_the_context_is_redacted_too(self) -> None:
        event = make_event({"ip": "n"}, {"ip": "10.0.0.1", "a": "mail ada@example.com"})
        changed = redact("context.ip", pattern=EMAIL)(event)
        assert changed == make_event({"ip": "n"}, {"ip": GONE, "a": f"mail {GONE}"})

    def test_the_event_that_was_passed_is_not_changed(self) -> None:
        event = make_event({"email": "x", "a": [{"email": "x"}]}, {"email": "x"})
        given = copy.deepcopy(event)
        assert redact("email")(event) != given
        assert event == given

    def test_the_client_sets_no_key_that_redact_would_change(self) -> None:
        transport = MemoryTransport()
        with Whisperr(
            "wrk_test",
            transport=transport,
            before_send=redact("*", pattern="."),
            app_version="2.3.0",
            test_mode=True,
        ) as client:
            message_id = client.track("ada", "seen", {"n": 1}, {"ip": "10.0.0.1"})
        (event,) = transport.sent[0].events
        context = event["context"]
        assert context.pop("ip") == GONE
        assert set(context) == set(OWN_CONTEXT_KEYS)
        assert GONE not in context.values()
        assert context["$message_id"] == message_id
        assert (event["external_user_id"], event["event_type"]) == ("ada", "seen")

    def test_an_event_of_64_levels_is_redacted_at_its_last(self) -> None:
        transport = MemoryTransport()
        nested: dict[str, Any] = {"email": "ada@example.com"}
        for _ in range(62):
            nested = {"in": nested}
        with Whisperr("wrk_test", transport=transport, before_send=redact("email")) as client:
            assert client.track("ada", "seen", nested)
        assert b"ada@example.com" not in transport.sent[0].body
        assert transport.sent[0].body.count(GONE.encode()) == 1

    def test_default_and_scoped_properties_are_redacted_like_those_of_a_call(self) -> None:
        transport = MemoryTransport()
        with (
            Whisperr(
                "wrk_test",
                transport=transport,
                before_send=redact("email", "tenant.ssn"),
                default_properties={"email": "ada@example.com", "n": 1},
            ) as client,
            whisperr.scope(tenant={"ssn": 1, "id": 2}, context={"email": "ada@example.com"}),
        ):
            client.track("ada", "seen", {"payer": {"email": "bob@example.com"}})
        (event,) = transport.sent[0].events
        assert event["properties"] == {
            "email": GONE,
            "n": 1,
            "tenant": {"ssn": GONE, "id": 2},
            "payer": {"email": GONE},
        }
        assert event["context"]["email"] == GONE

    def test_an_own_function_may_call_it_and_drop_events(self) -> None:
        transport = MemoryTransport()
        hide = redact("email")

        def before_send(event: dict[str, Any]) -> dict[str, Any] | None:
            return None if event["event_type"] == "message_read" else hide(event)

        with Whisperr("wrk_test", transport=transport, before_send=before_send) as client:
            client.track("ada", "message_read")
            client.track("ada", "seen", {"email": "x"})
            assert client.stats().not_accepted == {"vetoed": 1}
        assert [e["properties"] for e in transport.sent[0].events] == [{"email": GONE}]


@pytest.mark.parametrize(
    ("names", "options", "kind", "text"),
    [
        ((), {}, ValueError, "redact() needs at least one name or a pattern"),
        (
            (["email"],),
            {},
            TypeError,
            'names: must be strings, such as redact("email"); got a list',
        ),
        ((None,), {}, TypeError, "got a NoneType"),
        (("",), {}, ValueError, "'': must be a name"),
        (("a..b",), {}, ValueError, "'a..b': must be a name"),
        ((".a",), {}, ValueError, "'.a': must be a name"),
        (("a.",), {}, ValueError, "'a.': must be a name"),
        (("items[*].ssn",), {}, ValueError, "leave out brackets; a list is no step of a path"),
        ((), {"pattern": "("}, ValueError, "pattern: missing )"),
        ((), {"pattern": "a*"}, ValueError, "pattern: matches an empty text"),
        ((), {"pattern": ""}, ValueError, "pattern: matches an empty text"),
        ((), {"pattern": r"\b"}, ValueError, "pattern: matches an empty text"),
        ((), {"pattern": r"(?=\d)"}, ValueError, "pattern: matches an empty text"),
        ((), {"pattern": "(?<=@)"}, ValueError, "pattern: matches an empty text"),
        ((), {"pattern": b"a"}, TypeError, "pattern: must match a str, not bytes"),
        ((), {"pattern": re.compile(b"a")}, TypeError, "pattern: must match a str, not bytes"),
        ((), {"pattern": 7}, TypeError, "pattern: must be a str or a compiled pattern, got int"),
        (("a",), {"replacement": None}, TypeError, "replacement: must be a str, got NoneType"),
    ],
)
def test_a_wrong_argument_is_refused_when_the_function_is_made(
    names: Any, options: Any, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        redact(*names, **options)


# -- against a second implementation

NAMES = ("email", "a.ssn", "*_token", "c.*.n")
keys = st.sampled_from(
    ("email", "Email", "ssn", "a", "b", "c", "n", "api_token", "a.ssn", "x.y", "note")
) | st.text(max_size=3)
texts = st.text(max_size=12) | st.sampled_from(
    ("ada@example.com", "to a@b.c and b@c.d", "a@b", "@", "no")
)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=25,
)


def is_named(steps: list[str]) -> bool:
    """Return whether a run of steps that ends at one of the last key's has a name."""
    return any(
        len(steps[:end]) >= len(parts := name.split("."))
        and all(
            fnmatchcase(step.lower(), part)
            for step, part in zip(steps[:end][-len(parts) :], parts, strict=True)
        )
        for name in NAMES
        for end in range(1, len(steps) + 1)
    )


def compare(before: Any, after: Any, steps: list[str]) -> Iterator[None]:
    """Check one value and all below it; yield once for each value that is not redacted."""
    if isinstance(before, dict):
        assert list(before) == list(after)
        for key, item in before.items():
            below = [*steps, *key.split(".")]
            if is_named(below):
                assert after[key] == GONE
            else:
                yield from compare(item, after[key], below)
    elif isinstance(before, list):
        assert len(before) == len(after)
        for one, other in zip(before, after, strict=True):
            yield from compare(one, other, steps)
    elif isinstance(before, str) and re.search(EMAIL, before):
        assert re.search(EMAIL, after) is None
        kept = re.split(EMAIL, before)
        assert after == GONE.join(kept)
    else:
        assert type(after) is type(before)
        assert after == before
        yield None


@given(st.dictionaries(keys, values, max_size=5), st.dictionaries(keys, values, max_size=3))
def test_no_name_and_no_match_is_left_and_nothing_else_changes(
    properties: dict[str, Any], context: dict[str, Any]
) -> None:
    event = make_event(properties, context)
    changed = redact(*NAMES, pattern=EMAIL)(event)
    assert list(changed) == list(event)
    assert {k: changed["context"][k] for k in OWN} == OWN
    assert changed["event_type"] == "email"
    assert changed["external_user_id"] == "ada@example.com"
    list(compare(event["properties"], changed["properties"], ["properties"]))
    others = {key: value for key, value in event["context"].items() if key not in OWN}
    after = {key: value for key, value in changed["context"].items() if key not in OWN}
    list(compare(others, after, ["context"]))
