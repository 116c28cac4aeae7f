"""What an answer means for the batch in flight and for its parts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperr._contract import Answer, Misconfigured
from whisperr._delivery.verdict import EXTRA_AT_ONCE, InFlight, Verdict

SAME_EACH_TIME = settings(derandomize=True, database=None, deadline=None)
NOW = 1_781_438_400.0  # 2026-06-14T12:00:00Z
BATCH = (b"1", b"2", b"3", b"4")
ANSWERED = "the server answered"
NOT_FOLLOWED = "which is not followed"
REDIRECTED = f"{ANSWERED} HTTP 302 with a redirect to"
STATUSES = (None, 202, 302, 400, 401, 404, 408, 413, 429, 500, 503)


def in_flight(batch: tuple[bytes, ...] = BATCH, max_retries: int = 2) -> InFlight:
    return InFlight(batch, max_retries, lambda: 1.0)


def answer(status: int | None, body: object = None, **headers: str) -> Answer | None:
    if status is None:
        return None
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, names, b"" if body is None else json.dumps(body).encode())


def answered(one: InFlight, status: int | None, body: object = None, **headers: str) -> Verdict:
    return one.take_answer(answer(status, body, **headers), OSError("no route"), NOW)


def count_delivered(verdict: Verdict) -> int:
    return verdict.settled - (verdict.loss.count if verdict.loss else 0)


def get_facts(verdict: Verdict) -> dict[str, Any]:
    """Return the fields of a verdict that differ from the defaults."""
    facts = {
        "status": verdict.status,
        "settled": verdict.settled,
        "delivered": count_delivered(verdict),
        "reason": verdict.loss and verdict.loss.reason,
        "wait": verdict.wait,
        "asked": verdict.asked,
        "give_up": verdict.give_up,
        "unclear": verdict.unclear,
    }
    return {name: value for name, value in facts.items() if value}


class Story:
    """Play a server that refuses some events, until the batch is complete."""

    def __init__(self, batch: tuple[bytes, ...], bad: set[bytes], refusal: int = 400) -> None:
        self.delivered: list[bytes] = []
        self.dropped: list[bytes] = []
        self.settled: list[bytes] = []
        self.requests = 0
        self.paces: list[float] = []
        one = in_flight(batch)
        while one.part:
            self._round(one, bad, refusal)

    def _round(self, one: InFlight, bad: set[bytes], refusal: int) -> None:
        part = tuple(one.part)
        before = one.left
        self.requests += 1
        verdict = answered(one, refusal if bad.intersection(part) else 202)
        assert one.left == before - verdict.settled
        self.paces.append(verdict.pace)
        settled = part[: verdict.settled]
        self.settled += settled
        if count_delivered(verdict):
            self.delivered += settled
        else:
            self.dropped += settled


def numbered(count: int) -> tuple[bytes, ...]:
    return tuple(b"%d" % number for number in range(count))


class TestVerdict:
    @pytest.mark.parametrize(
        ("status", "body", "expected"),
        [
            (200, None, {"settled": 4, "delivered": 4}),
            (202, {"accepted": 4, "rejected": 0}, {"settled": 4, "delivered": 4}),
            (202, {"rejected": 1}, {"settled": 4, "delivered": 3, "reason": "refused_in_batch"}),
            (202, {"rejected": 4}, {"settled": 4, "delivered": 0, "reason": "refused_in_batch"}),
            (202, {"rejected": 99}, {"settled": 4, "delivered": 0, "reason": "refused_in_batch"}),
            (299, {"unknown": 1}, {"settled": 4, "delivered": 4}),
            (299, "text", {"settled": 4, "delivered": 4, "unclear": True}),
            (202, [], {"settled": 4, "delivered": 4, "unclear": True}),
            (200, "<html>", {"settled": 4, "delivered": 4, "unclear": True}),
            (302, None, {"wait": 1.0}),
            (401, None, {"give_up": "auth"}),
            (403, None, {"give_up": "auth"}),
            (404, None, {"give_up": "retry_exhausted"}),
            (405, None, {"give_up": "retry_exhausted"}),
            (410, {"rejected": 1}, {"settled": 4, "reason": "rejected"}),
            (408, None, {"wait": 1.0}),
            (400, None, {}),
            (422, None, {}),
            (413, None, {}),
            (429, None, {"wait": 1.0}),
            (500, None, {"wait": 1.0}),
            (503, None, {"wait": 1.0}),
            (None, None, {"wait": 1.0}),
        ],
    )
    def test_an_answer_to_a_whole_batch(
        self, status: int | None, body: object, expected: dict[str, Any]
    ) -> None:
        verdict = answered(in_flight(), status, body)
        wanted = {"status": status, **expected}
        assert get_facts(verdict) == {
            name: value for name, value in wanted.items() if value not in (None, 0)
        }

    @pytest.mark.parametrize(
        ("status", "reason"), [(400, "rejected"), (422, "rejected"), (413, "too_large")]
    )
    def test_one_event_that_offends_is_dropped(self, status: int, reason: str) -> None:
        one = in_flight((b"1",))
        verdict = answered(one, status)
        assert get_facts(verdict) == {"status": status, "settled": 1, "reason": reason}
        assert (one.left, tuple(one.part)) == (0, ())

    @pytest.mark.parametrize("status", [None, 302, 401, 403, 408, 429, 500])
    def test_an_answer_that_allows_a_retry_keeps_every_event(self, status: int | None) -> None:
        one = in_flight()
        verdict = answered(one, status)
        assert (verdict.settled, one.left, tuple(one.part)) == (0, 4, BATCH)

    def test_a_batch_without_events_is_complete(self) -> None:
        one = in_flight(())
        assert (one.left, len(one.part)) == (0, 0)


class TestRetries:
    @pytest.mark.parametrize("status", [None, 302, 408, 429, 500, 503])
    def test_after_so_many_retries_it_gives_up(self, status: int | None) -> None:
        one = in_flight(max_retries=2)
        verdicts = [answered(one, status) for _ in range(3)]
        assert [verdict.wait for verdict in verdicts] == [1.0, 2.0, None]
        assert [verdict.give_up for verdict in verdicts] == [None, None, "retry_exhausted"]
        assert (one.failures, one.left) == (3, 4)

    def test_without_retries_the_first_failure_ends_it(self) -> None:
        assert answered(in_flight(max_retries=0), 500).give_up == "retry_exhausted"

    @pytest.mark.parametrize("status", [202, 400, 404, 401])
    def test_an_answer_that_is_no_failure_ends_the_row_of_failures(self, status: int) -> None:
        one = in_flight(max_retries=5)
        answered(one, 500)
        answered(one, None)
        assert one.failures == 2
        answered(one, status)
        assert one.failures == 0

    def test_a_part_has_all_the_retries_of_its_own(self) -> None:
        one = in_flight(max_retries=1)
        answered(one, 400)
        answered(one, 500)
        answered(one, 202)
        assert answered(one, 500).give_up is None
        assert answered(one, 500).give_up == "retry_exhausted"

    @pytest.mark.parametrize("status", [429, 503])
    def test_retry_after_replaces_the_backoff(self, status: int) -> None:
        verdict = answered(in_flight(), status, retry_after="17")
        assert (verdict.wait, verdict.asked) == (17.0, True)

    def test_retry_after_may_be_a_date(self) -> None:
        verdict = answered(in_flight(), 429, retry_after="Sun, 14 Jun 2026 12:00:30 GMT")
        assert (verdict.wait, verdict.asked) == (30.0, True)

    @pytest.mark.parametrize("status", [302, 408, 500, 502, 504])
    def test_retry_after_on_any_other_status_is_ignored(self, status: int) -> None:
        verdict = answered(in_flight(), status, retry_after="17")
        assert (verdict.wait, verdict.asked) == (1.0, False)

    @pytest.mark.parametrize("status", [202, 400, 401, 404, 413])
    def test_retry_after_where_nothing_is_repeated_is_ignored(self, status: int) -> None:
        verdict = answered(in_flight(), status, retry_after="17")
        assert (verdict.wait, verdict.asked) == (None, False)

    def test_a_retry_after_that_cannot_be_read_leaves_the_backoff(self) -> None:
        verdict = answered(in_flight(), 429, retry_after="soon")
        assert (verdict.wait, verdict.asked) == (1.0, False)

    def test_retry_after_neither_resets_nor_extends_the_retries(self) -> None:
        one = in_flight(max_retries=2)
        verdicts = [answered(one, 429, retry_after="5") for _ in range(3)]
        assert [verdict.give_up for verdict in verdicts] == [None, None, "retry_exhausted"]
        assert (verdicts[2].wait, verdicts[2].asked) == (5.0, True)


class TestMisconfigured:
    def test_what_no_retry_can_help_is_given_up_at_once(self) -> None:
        one = in_flight(max_retries=6)
        verdict = one.take_answer(None, Misconfigured("no such proxy"), NOW)
        assert get_facts(verdict) == {"give_up": "retry_exhausted"}
        assert verdict.message == "no answer: Misconfigured: no such proxy"
        assert one.left == 4


class TestUnreadableSuccess:
    @pytest.mark.parametrize(
        ("body", "kind"),
        [
            (b"<html><body>Please sign in", ""),
            (b"\r\n <!doctype html>", "application/json"),
            (b"Please sign in", "Text/HTML; charset=utf-8"),
            (b"\x1f\x8b\x08 in an unknown encoding", "text/html"),
            (b"<", "application/xhtml+xml"),
        ],
    )
    @pytest.mark.parametrize("status", [200, 202])
    def test_a_web_page_is_no_answer_of_the_service_and_keeps_every_event(
        self, status: int, body: bytes, kind: str
    ) -> None:
        one = in_flight()
        verdict = one.take_answer(Answer(status, {"content-type": kind}, body), None, NOW)
        assert get_facts(verdict) == {"status": status, "wait": 1.0}
        assert one.left == 4
        assert verdict.message.startswith(f"the server answered HTTP {status} with a web page")
        assert verdict.hint.startswith("correct base_url")
        assert verdict.patience == 1

    @pytest.mark.parametrize("status", [400, 404, 405, 410, 418, 422, 451])
    def test_a_refusal_that_is_a_web_page_is_none_of_the_service_and_keeps_every_event(
        self, status: int
    ) -> None:
        one = in_flight()
        page = Answer(status, {"content-type": "text/html"}, b"<html>nginx")
        verdict = one.take_answer(page, None, NOW)
        assert get_facts(verdict) == {"status": status, "give_up": "retry_exhausted"}
        assert verdict.is_lasting
        assert (one.left, tuple(one.part)) == (4, BATCH)  # nothing is halved

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            (401, {"give_up": "auth"}),
            (413, {}),
            (429, {"wait": 1.0}),
            (502, {"wait": 1.0}),
        ],
    )
    def test_a_page_changes_nothing_about_what_keeps_events_anyway(
        self, status: int, expected: dict[str, Any]
    ) -> None:
        page = Answer(status, {"content-type": "text/html"}, b"<html>")
        verdict = in_flight().take_answer(page, None, NOW)
        assert get_facts(verdict) == {"status": status, **expected}

    def test_json_that_is_called_a_page_is_an_answer(self) -> None:
        reply = Answer(202, {"content-type": "text/html"}, b'{"rejected":1}')
        verdict = in_flight().take_answer(reply, None, NOW)
        assert count_delivered(verdict) == 3
        assert not verdict.unclear

    @pytest.mark.parametrize("body", [b"OK", b"[" * 5_000, b'{"rejected":', b"\xff", b"null"])
    def test_a_success_that_cannot_be_read_says_so(self, body: bytes) -> None:
        verdict = in_flight().take_answer(Answer(202, {}, body), None, NOW)
        assert get_facts(verdict) == {
            "status": 202,
            "settled": 4,
            "delivered": 4,
            "unclear": True,
        }
        assert "cannot be read" in verdict.message

    @pytest.mark.parametrize("status", [200, 204])
    def test_a_success_without_a_body_is_not_unclear(self, status: int) -> None:
        verdict = in_flight().take_answer(Answer(status, {"content-type": "text/html"}), None, NOW)
        assert get_facts(verdict) == {"status": status, "settled": 4, "delivered": 4}


class TestDividing:
    @pytest.mark.parametrize("status", [400, 413, 422])
    def test_the_first_half_is_sent_first(self, status: int) -> None:
        one = in_flight((b"1", b"2", b"3"))
        answered(one, status)
        assert list(one.part) == [b"1"]
        answered(one, 202)
        assert list(one.part) == [b"2", b"3"]

    @pytest.mark.parametrize("at", [0, 1, 249, 250, 251, 498, 499])
    def test_one_bad_event_among_500_costs_one_event(self, at: int) -> None:
        batch = numbered(500)
        story = Story(batch, {batch[at]})
        assert story.dropped == [batch[at]]
        assert story.settled == list(batch)

    def test_finding_one_bad_event_among_500_takes_18_requests_more_at_most(self) -> None:
        batch = numbered(500)
        extra = {Story(batch, {bad}).requests - 1 for bad in batch}
        assert extra == {16, 18}

    def test_past_64_extra_requests_each_one_waits_a_tenth_of_a_second(self) -> None:
        batch = numbered(500)
        story = Story(batch, set(batch))
        assert story.requests == 999
        assert story.dropped == list(batch)
        at_once = story.paces.index(0.1)
        assert at_once - 1 <= EXTRA_AT_ONCE
        assert set(story.paces[at_once:-1]) == {0.1}
        assert story.paces[-1] == 0.0  # nothing is left to wait for

    def test_a_batch_with_few_bad_events_never_waits(self) -> None:
        batch = numbered(500)
        assert set(Story(batch, {batch[7], batch[300], batch[301]}).paces) == {0.0}

    @pytest.mark.parametrize("bad", [5, 20, 100, 499])
    def test_however_many_events_are_bad_no_good_one_is_lost(self, bad: int) -> None:
        batch = numbered(500)
        step = 500 // bad
        offending = set(batch[::step][:bad])
        story = Story(batch, offending)
        assert set(story.dropped) == offending
        assert story.delivered == [one for one in batch if one not in offending]

    @SAME_EACH_TIME
    @given(st.integers(1, 500), st.sets(st.integers(0, 499), max_size=60))
    def test_whatever_is_bad_everything_ends_once_in_order_and_costs_nothing_else(
        self, count: int, bad_numbers: set[int]
    ) -> None:
        batch = numbered(count)
        bad = {batch[number] for number in bad_numbers if number < count}
        story = Story(batch, bad)
        assert story.settled == list(batch)
        assert set(story.dropped) == bad
        assert story.requests <= 2 * count - 1

    def test_a_body_that_is_too_large_is_split_as_often_as_it_takes(self) -> None:
        batch = numbered(500)
        story = Story(batch, set(batch), refusal=413)
        assert story.dropped == list(batch)
        assert story.requests == 999

    def test_splitting_does_not_count_as_an_extra_request(self) -> None:
        one = in_flight(numbered(500))
        while one.left > 4:
            answered(one, 413 if len(one.part) > 4 else 202)
        size = len(one.part)
        assert size > 1
        assert get_facts(answered(one, 400)) == {"status": 400}
        assert len(one.part) < size


class TestMessage:
    @pytest.mark.parametrize(
        ("status", "headers", "body", "message"),
        [
            (None, {}, None, "no answer: OSError: no route"),
            (500, {}, None, "the server answered HTTP 500"),
            (
                401,
                {},
                {"error": "invalid_key"},
                "the server refused the API key (HTTP 401 invalid_key)",
            ),
            (
                403,
                {},
                None,
                "the server refused the API key or the request (HTTP 403)",
            ),
            (
                404,
                {"location": "https://other"},
                None,
                "the server does not serve the whisperr API at this path (HTTP 404)",
            ),
            (302, {}, None, f"{ANSWERED} HTTP 302"),
            (
                307,
                {"location": "https://other.example/v1?token=secret&to=ada"},
                None,
                f"{ANSWERED} HTTP 307 with a redirect to https://other.example/v1, {NOT_FOLLOWED}",
            ),
            (
                301,
                {"location": "/login"},
                None,
                f"{ANSWERED} HTTP 301 with a redirect to /login, {NOT_FOLLOWED}",
            ),
            (
                302,
                {"location": "//ada:secret@other.example:80?ada"},
                None,
                f"{REDIRECTED} //other.example:80, {NOT_FOLLOWED}",
            ),
            (
                302,
                {"location": "//\x1b[2Jother\n.example/"},
                None,
                f"{REDIRECTED} //\\x1b[2Jother\\n.example/, {NOT_FOLLOWED}",
            ),
            (
                302,
                {"location": "ada@example.com"},
                None,
                f"{REDIRECTED} another address, {NOT_FOLLOWED}",
            ),
            (
                302,
                {"location": "https://other.example/of/ada@example.com"},
                None,
                f"{REDIRECTED} https://other.example, {NOT_FOLLOWED}",
            ),
            (202, {}, {"rejected": 3}, "the server refused 3 of 4 events in a batch"),
            (202, {}, {"rejected": 9}, "the server refused 4 of 4 events in a batch"),
        ],
    )
    def test_it_describes_the_answer(
        self, status: int | None, headers: dict[str, str], body: object, message: str
    ) -> None:
        assert answered(in_flight(), status, body, **headers).message == message

    def test_an_endless_target_is_cut(self) -> None:
        message = answered(in_flight(), 302, location="https://other/" + "x" * 5_000).message
        assert len(message) < 300

    def test_the_text_of_a_failure_is_escaped_and_cut(self) -> None:
        failure = OSError("\x1b[2J\nforged: line" + "x" * 5_000)
        message = in_flight().take_answer(None, failure, NOW).message
        assert message.startswith("no answer: OSError: \\x1b[2J\\nforged: line")
        assert len(message) < 300

    def test_a_failure_whose_text_cannot_be_made_is_named_by_its_type(self) -> None:
        class Silent(Exception):
            def __str__(self) -> str:
                raise ValueError("no text")

        assert in_flight().take_answer(None, Silent(), NOW).message == "no answer: Silent"

    @pytest.mark.parametrize("status", STATUSES)
    @pytest.mark.parametrize("name", ["error", "code", "message", "events"])
    def test_it_never_repeats_what_was_sent(self, status: int | None, name: str) -> None:
        payload = '{"event_type":"e","external_user_id":"ada@example.com"}'
        one = in_flight((payload.encode(), payload.encode()))
        message = answered(one, status, {name: f"cannot read {payload}", "rejected": 1}).message
        assert "ada" not in message
        assert "\n" not in message
