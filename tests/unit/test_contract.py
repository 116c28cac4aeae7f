"""The facts of the service: the class of every status, the headers, the limits."""

from __future__ import annotations

import pytest

from whisperr._contract import (
    AUTH,
    BASE_URL,
    DROP,
    HALVE,
    MAX_AGE_DAYS,
    MAX_ANONYMOUS_ID_CHARS,
    MAX_BATCH_BYTES,
    MAX_BATCH_EVENTS,
    OK,
    RETRY,
    SPLIT,
    WRONG_PATH,
    Answer,
    classify,
    get_headers,
    is_key_accepted,
)


class TestClassify:
    @pytest.mark.parametrize(
        ("status", "class_"),
        [
            (None, RETRY),
            (0, RETRY),
            (100, RETRY),
            (199, RETRY),
            (200, OK),
            (201, OK),
            (202, OK),
            (204, OK),
            (207, OK),
            (299, OK),
            (300, RETRY),
            (301, RETRY),
            (302, RETRY),
            (304, RETRY),
            (307, RETRY),
            (308, RETRY),
            (399, RETRY),
            (400, HALVE),
            (401, AUTH),
            (402, DROP),
            (403, AUTH),
            (404, WRONG_PATH),
            (405, WRONG_PATH),
            (407, DROP),
            (408, RETRY),
            (409, DROP),
            (410, DROP),
            (413, SPLIT),
            (415, DROP),
            (418, DROP),
            (421, DROP),
            (422, HALVE),
            (423, DROP),
            (425, DROP),
            (428, DROP),
            (429, RETRY),
            (431, DROP),
            (451, DROP),
            (499, DROP),
            (500, RETRY),
            (501, RETRY),
            (502, RETRY),
            (503, RETRY),
            (504, RETRY),
            (529, RETRY),
            (599, RETRY),
            (600, RETRY),
            (999, RETRY),
        ],
    )
    def test_every_status_has_one_class(self, status: int | None, class_: str) -> None:
        assert classify(status) == class_

    @pytest.mark.parametrize("status", range(200, 300))
    def test_every_2xx_is_a_success(self, status: int) -> None:
        assert classify(status) == OK

    def test_no_other_status_is_a_success(self) -> None:
        others = [*range(200), *range(300, 1_000)]
        assert OK not in {classify(status) for status in others}

    def test_only_a_4xx_can_drop_events(self) -> None:
        others = [*range(400), *range(500, 1_000)]
        assert {classify(status) for status in others} == {OK, RETRY}


class TestKey:
    @pytest.mark.parametrize(
        ("status", "accepted"),
        [
            (202, True),
            (400, True),
            (401, False),
            (403, False),
            (404, None),
            (429, None),
            (500, None),
        ],
    )
    def test_the_status_for_an_empty_request_tells_whether_the_key_is_accepted(
        self, status: int, accepted: bool | None
    ) -> None:
        assert is_key_accepted(status) is accepted


class TestFacts:
    def test_the_headers_have_the_key_and_the_agent_of_this_package(self) -> None:
        assert get_headers("wrk_1", "1.2.3") == {
            "Content-Type": "application/json",
            "User-Agent": "whisperr-python/1.2.3",
            "X-API-Key": "wrk_1",
        }

    def test_the_limits_are_those_of_the_contract(self) -> None:
        assert MAX_BATCH_EVENTS == 500
        assert MAX_BATCH_BYTES == 524_288
        assert MAX_AGE_DAYS == 30
        assert MAX_ANONYMOUS_ID_CHARS == 128
        assert BASE_URL == "https://api.whisperr.net"

    def test_an_answer_may_have_neither_headers_nor_a_body(self) -> None:
        answer = Answer(202)
        assert (answer.status, dict(answer.headers), answer.body) == (202, {}, b"")
