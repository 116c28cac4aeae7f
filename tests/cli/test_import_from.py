"""`whisperr import --from`: the events of a billing provider, oldest first, with their states."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.billing.cases import NOW, revenuecat
from tests.billing.cases.paddle import ENDS, at, subscription, webhook
from tests.cli.test_import_formats import stdin as stdin  # noqa: PLC0414  # a fixture
from whisperr.dev import LocalServer, faults

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .conftest import Call

CANCEL = {"action": "cancel", "effective_at": at(ENDS), "resume_at": None}


def event(number: int, event_type: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return an event so many minutes after NOW."""
    made = webhook(event_type, data, event=f"evt_{number}")
    return {**made, "occurred_at": at(NOW + timedelta(minutes=number))}


def start(number: int = 1, **changes: Any) -> dict[str, Any]:
    return event(number, "subscription.created", subscription("active", **changes))


def cancel(number: int = 2, **changes: Any) -> dict[str, Any]:
    """Return an event that means nothing without those before it."""
    data = subscription("active", scheduled_change=CANCEL, **changes)
    return event(number, "subscription.updated", data)


def other(number: int = 3) -> dict[str, Any]:
    return event(number, "customer.updated", {"id": "ctm_1"})


EVENTS = [start(), cancel(), other()]
SIGNALS = ["membership_started", "auto_renew_disabled"]
OUTCOME = """\
3 events became 2 signals:
          1  membership_started
          1  auto_renew_disabled
skipped 1:
          1  customer.updated is no change of a subscription
"""


def to_page(events: Sequence[dict[str, Any]], *, more: bool = False) -> str:
    """Return a page of events as `GET /events` of Paddle answers."""
    meta = {"request_id": "1", "pagination": {"per_page": 200, "has_more": more}}
    return json.dumps({"data": events, "meta": meta}, indent=2)


def to_lines(events: Sequence[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(one)}\n" for one in events)


def get_types(server: LocalServer, status: str = "accepted") -> list[str | None]:
    return [arrival.type for arrival in server.arrivals(status=status)]


def get_stripe_events() -> list[dict[str, Any]]:
    """Return events of Stripe, newest first, as `stripe events list` prints them."""
    trial: dict[str, Any] = {
        "id": "sub_1",
        "object": "subscription",
        "customer": "cus_1",
        "status": "trialing",
    }
    trial |= {"metadata": {}, "cancel_at": None, "items": {"object": "list", "data": []}}
    trial |= {"trial_start": to_unix(0), "trial_end": to_unix(1_440), "start_date": to_unix(0)}
    cancelled = {**trial, "cancel_at": to_unix(1_440)}
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("customer.created", {"object": {"id": "cus_1", "object": "customer"}}),
        ("customer.subscription.created", {"object": trial}),
        ("customer.updated", {"object": {"id": "cus_1", "object": "customer"}}),
        (
            "customer.subscription.updated",
            {"object": cancelled, "previous_attributes": {"cancel_at": None}},
        ),
    ]
    about = {"object": "event", "api_version": "2025-09-30.clover", "livemode": True}
    return [
        {"id": f"evt_{n}", **about, "created": to_unix(n), "type": kind, "data": data}
        for n, (kind, data) in enumerate(kinds)
    ][::-1]


def to_unix(minutes: int) -> int:
    return int((NOW + timedelta(minutes=minutes)).timestamp())


def to_list(events: Sequence[dict[str, Any]], *, more: bool = False) -> str:
    """Return a page as `stripe events list` prints it."""
    page = {"object": "list", "data": events, "has_more": more, "url": "/v1/events"}
    return json.dumps(page, indent=2)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "events.json"
    path.write_text(to_page(EVENTS[::-1]), encoding="utf-8")
    return path


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Return a file with 700 subscriptions that are cancelled after all of them began."""
    own = [{"id": f"sub_{n}"} for n in range(700)]
    events = [start(n, **one) for n, one in enumerate(own)]
    events += [cancel(1_000 + n, **one) for n, one in enumerate(own)]
    path = tmp_path / "many.json"
    path.write_text(to_lines(events[::-1]), encoding="utf-8")
    return path


class TestShapes:
    @pytest.mark.parametrize(
        "text",
        [
            to_page(EVENTS[::-1]),
            to_page(EVENTS[:0:-1], more=True) + "\n" + to_page(EVENTS[:1]),
            json.dumps([json.loads(to_page([one])) for one in EVENTS]),
            json.dumps(EVENTS),
            json.dumps(EVENTS[::-1], indent=2),
            to_lines([EVENTS[1], EVENTS[0], EVENTS[2]]),
        ],
        ids=["page", "pages", "array of pages", "array", "indented array", "lines"],
    )
    def test_every_shape_of_an_export_becomes_the_same_signals(
        self, server: LocalServer, call: Call, file: Path, text: str
    ) -> None:
        file.write_text(text, encoding="utf-8")
        ended = call("import", str(file), "--from", "paddle")
        assert (ended.code, ended.err) == (0, "")
        assert get_types(server) == SIGNALS
        assert ended.out.startswith(OUTCOME)
        assert "\ndelivered 2 of 2 signals in " in ended.out

    def test_standard_input_and_gzip_work(
        self, server: LocalServer, call: Call, stdin: Any
    ) -> None:
        stdin(gzip.compress(to_page(EVENTS[::-1]).encode()))
        assert call("import", "-", "--from", "paddle").code == 0
        assert get_types(server) == SIGNALS

    def test_an_empty_file_is_a_success(self, server: LocalServer, call: Call, file: Path) -> None:
        file.write_text(to_page([]), encoding="utf-8")
        ended = call("import", str(file), "--from", "paddle")
        assert ended.code == 0
        assert ended.out.startswith("0 events became 0 signals\n")
        assert server.requests() == []

    def test_events_of_the_same_time_are_taken_in_the_order_of_the_export(
        self, server: LocalServer, call: Call, file: Path
    ) -> None:
        same = {**cancel(), "occurred_at": start()["occurred_at"]}
        for events in ([other(), same, start()], [start(), same, other()]):
            file.write_text(to_page(events), encoding="utf-8")
            ended = call("import", str(file), "--from", "paddle", "--dry-run")
            assert ended.out.startswith(OUTCOME)


class TestStripe:
    @pytest.mark.parametrize(
        "text",
        [
            to_list(get_stripe_events()),
            to_list(get_stripe_events()[:1], more=True) + to_list(get_stripe_events()[1:]),
            to_lines(get_stripe_events()[::-1]),
        ],
        ids=["page", "pages", "lines of stripe listen"],
    )
    def test_the_output_of_its_command_becomes_signals(
        self, server: LocalServer, call: Call, file: Path, tmp_path: Path, text: str
    ) -> None:
        file.write_text(text, encoding="utf-8")
        users = tmp_path / "users.json"
        users.write_text('{"cus_1": "user_1"}', encoding="utf-8")
        ended = call("import", str(file), "--from", "stripe", "--user-map", str(users))
        assert (ended.code, ended.err) == (0, "")
        assert get_types(server) == ["trial_started", "trial_auto_renew_disabled"]
        assert {arrival.user for arrival in server.arrivals()} == {"user_1"}
        assert ended.out.startswith("4 events became 2 signals:\n")


class TestRevenueCat:
    def test_events_that_were_stored_without_their_body_are_the_same(
        self, call: Call, file: Path
    ) -> None:
        failed = {"id": "1", "event_timestamp_ms": revenuecat.millis(NOW - timedelta(hours=1))}
        bodies = [  # the newest first
            revenuecat.webhook("RENEWAL", id="2", is_trial_conversion=False),
            revenuecat.webhook("BILLING_ISSUE", **failed),
        ]
        shown = []
        for events in (bodies, [body["event"] for body in bodies]):
            file.write_text(to_lines([*events, events[0]]), encoding="utf-8")
            shown.append(call("import", "--from", "revenuecat", "--dry-run", str(file)).out)
        assert shown[0] == shown[1]
        assert "billing_recovered" in shown[0]
        assert "2 events became 3 signals" in shown[0]


class TestSignals:
    def test_a_signal_has_the_ids_of_its_event(
        self, server: LocalServer, call: Call, file: Path
    ) -> None:
        call("import", str(file), "--from", "paddle")
        arrival = server.arrivals()[0]
        assert arrival.message_id == "evt_1:membership_started"
        assert arrival.body["context"]["provider_event_id"] == "evt_1"
        assert arrival.body["occurred_at"] == f"{NOW + timedelta(minutes=1):%Y-%m-%dT%H:%M:%S}.000Z"

    def test_importing_again_adds_only_duplicates(
        self, server: LocalServer, call: Call, file: Path
    ) -> None:
        for _ in range(2):
            assert call("import", str(file), "--from", "paddle").code == 0
        assert get_types(server) == SIGNALS
        assert get_types(server, "duplicate") == SIGNALS

    def test_an_event_of_two_pages_is_taken_once(
        self, server: LocalServer, call: Call, file: Path
    ) -> None:
        file.write_text(to_page(EVENTS) + to_page(EVENTS[:2]), encoding="utf-8")
        ended = call("import", str(file), "--from", "paddle")
        assert "2  the file has the same event more than once" in ended.out
        assert get_types(server) == SIGNALS
        assert get_types(server, "duplicate") == []

    def test_test_mode_marks_every_signal(
        self, server: LocalServer, call: Call, file: Path
    ) -> None:
        assert call("import", str(file), "--from", "paddle", "--test").code == 0
        modes = [arrival.body["context"]["$mode"] for arrival in server.arrivals()]
        assert modes == ["test", "test"]

    def test_events_older_than_30_days_are_refused_but_count_for_those_after_them(
        self, server: LocalServer, call: Call, file: Path
    ) -> None:
        old = {**start(), "occurred_at": at(NOW - timedelta(days=40))}
        file.write_text(to_lines([old, cancel()]), encoding="utf-8")
        ended = call("import", str(file), "--from", "paddle")
        assert ended.code == 1
        assert ended.err.startswith("evt_1:membership_started: occurred_at: ")
        assert "30 days ago" in ended.err
        assert "refused here 1, by the server 0" in ended.out
        assert get_types(server) == ["auto_renew_disabled"]

    def test_what_is_no_event_is_reported_by_its_line(
        self, server: LocalServer, call: Call, file: Path
    ) -> None:
        file.write_text(f"Ready!\n{to_lines(EVENTS)}7\n", encoding="utf-8")
        ended = call("import", str(file), "--from", "paddle")
        assert ended.code == 1
        assert ended.err.splitlines() == [
            "line 1: not JSON: Expecting value",
            "line 5: must be a JSON object, got int",
        ]
        assert get_types(server) == SIGNALS

    @pytest.mark.parametrize("text", ["{}", '{"data": {}}', '{"event_id": null}', '{"data": [{}]}'])
    def test_an_object_that_is_no_event_is_skipped_with_a_reason(
        self, server: LocalServer, call: Call, file: Path, text: str
    ) -> None:
        file.write_text(text, encoding="utf-8")
        ended = call("import", str(file), "--from", "paddle")
        assert ended.code == 0
        assert ended.out.startswith("1 event became 0 signals\nskipped 1:\n          1  ")

    def test_nothing_is_sent_from_a_file_that_is_cut_off(
        self, server: LocalServer, call: Call, file: Path
    ) -> None:
        file.write_text(to_page(EVENTS)[:-50], encoding="utf-8")
        ended = call("import", str(file), "--from", "paddle")
        assert ended.code == 1
        assert "is the file cut off?; nothing was sent" in ended.err
        assert server.requests() == []


class TestDryRun:
    def test_it_shows_what_becomes_what_and_needs_no_key(
        self, server: LocalServer, call: Call, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("WHISPERR_API_KEY")
        ended = call("import", str(file), "--from", "paddle", "--dry-run")
        assert ended.code == 0
        shown, _, rest = ended.out.partition("refused here 0; nothing was sent\n")
        assert shown == OUTCOME
        assert rest.startswith('the first: {"event_type": "membership_started"')
        assert server.requests() == []

    def test_the_most_frequent_reasons_are_first_and_ten_are_shown(
        self, server: LocalServer, call: Call, file: Path
    ) -> None:
        kinds = [f"thing_{n}.created" for n in range(12)]
        events = [event(n, kind, {}) for n, kind in enumerate([*kinds, kinds[7]])]
        file.write_text(to_lines(events), encoding="utf-8")
        lines = call("import", str(file), "--from", "paddle", "--dry-run").out.splitlines()
        assert lines[:2] == ["13 events became 0 signals", "skipped 13:"]
        assert lines[2].strip().startswith("2  thing_7.created")
        assert lines[12:] == ["  and 2 more reasons", "refused here 0; nothing was sent"]


class TestUsers:
    @pytest.fixture
    def unknown(self, file: Path) -> Path:
        """Return a file without users."""
        own: dict[str, Any] = {"custom_data": None}
        events = [start(**own), cancel(**own), start(3, custom_data={"uid": "user_7"}, id="sub_2")]
        file.write_text(to_page(events), encoding="utf-8")
        return file

    def test_signals_without_a_user_are_counted_with_what_to_do(
        self, server: LocalServer, call: Call, unknown: Path
    ) -> None:
        ended = call("import", str(unknown), "--from", "paddle")
        assert ended.code == 1
        assert ended.err == (
            "3 signals without a user: add --user-map FILE, which has your id of the user for "
            "each customer, or --user-key KEY if another key of custom_data has it\n"
        )
        assert "2  membership_started: no user in " in ended.out
        assert "user_of" not in ended.out

    def test_a_user_map_has_the_users(
        self, server: LocalServer, call: Call, unknown: Path, tmp_path: Path
    ) -> None:
        users = tmp_path / "users.csv"
        customer = start()["data"]["customer_id"]
        users.write_text(f"customer_id,external_user_id\n{customer},user_9\n", encoding="utf-8")
        ended = call("import", str(unknown), "--from", "paddle", "--user-map", str(users))
        assert (ended.code, ended.err) == (0, "")
        assert {arrival.user for arrival in server.arrivals()} == {"user_9"}

    def test_another_key_may_have_the_user(
        self, server: LocalServer, call: Call, unknown: Path
    ) -> None:
        call("import", str(unknown), "--from", "paddle", "--user-key", "uid")
        assert [arrival.user for arrival in server.arrivals()] == ["user_7"]


class TestResume:
    def test_it_continues_with_the_states_of_what_was_sent(
        self, server: LocalServer, call: Call, many: Path
    ) -> None:
        with LocalServer(on_request=lambda request: fail_after(first, request.number)) as first:
            ended = call("import", str(many), "--from", "paddle", "--base-url", first.url)
            assert ended.code == 1
            assert "stopped after event 500: " in ended.err
            assert ended.err.rstrip().endswith(" --resume")
            sent = [arrival.message_id for arrival in first.arrivals(status="accepted")]
        assert len(sent) == 500
        grown = to_lines([other(9_000)]) + many.read_text(encoding="utf-8")
        many.write_text(grown, encoding="utf-8")
        ended = call("import", str(many), "--from", "paddle", "--resume")
        assert ended.code == 0
        assert ended.out.startswith("1,401 events became 1,400 signals:\n")
        assert "\ndelivered 1,400 of 1,400 signals in " in ended.out
        rest = [arrival.message_id for arrival in server.arrivals(status="accepted")]
        assert len({*sent, *rest}) == len(sent) + len(rest) == 1_400
        assert not many.with_name("many.json.checkpoint").exists()

    def test_other_events_before_the_checkpoint_are_refused(
        self, server: LocalServer, call: Call, many: Path
    ) -> None:
        server.set_faults(faults.wrong_key())
        with LocalServer(on_request=lambda request: fail_after(first, request.number)) as first:
            call("import", str(many), "--from", "paddle", "--base-url", first.url)
        older = to_lines([start(-9, id="sub_new")])
        many.write_text(many.read_text(encoding="utf-8") + older, encoding="utf-8")
        ended = call("import", str(many), "--from", "paddle", "--resume")
        assert ended.code == 2
        assert "belongs to other content" in ended.err
        assert server.requests() == []


def fail_after(server: LocalServer, number: int) -> None:
    """Refuse the key after the first request, which is answered after this call."""
    if number == 1:
        server.set_faults(faults.wrong_key())


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (
                ["--from", "strpe"],
                "--from strpe: unknown provider (did you mean stripe?); the providers are stripe",
            ),
            (["--from", "x"], "--from x: unknown provider; the providers are"),
            (["--from", "app_store"], "signed: verify each with Apple's package"),
            (["--from", "google_play"], "the purchase must be fetched for each"),
            (["--from", "paddle", "--map", "a=b"], "--map does not fit --from"),
            (["--from", "paddle", "--set", "a=b"], "--set does not fit --from"),
            (["--from", "paddle", "--format", "csv"], "leave out --format"),
            (["--from", "revenuecat", "--user-key", "a"], "its events have no metadata"),
            (["--from", "paddle", "--user-map", "none.csv"], "--user-map none.csv: No such file"),
            (["--user-map", "users.csv"], "--user-map needs --from and a provider: stripe, "),
            (["--user-key", "uid"], "--user-key needs --from"),
        ],
    )
    def test_wrong_ones_are_an_error_that_says_what_to_write(
        self, server: LocalServer, call: Call, file: Path, options: list[str], expected: str
    ) -> None:
        ended = call("import", str(file), *options)
        assert ended.code == 2
        assert ended.err.count("\n") == 1
        assert expected in ended.err
        assert server.requests() == []
