"""`stripe_webhook`: the signature, the answers, and what is tracked."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.test import AsyncClient, Client, override_settings

from tests.django.outboxes import get_written
from tests.django.stripe_events import SECRET, make_event, sign, to_body
from whisperr.django import load_state
from whisperr.django.billing.models import SubscriptionState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.django.site import Site

pytest.importorskip("stripe")

BODY = to_body(make_event("customer.subscription.created"))
ENDED = to_body(make_event("customer.subscription.deleted", "evt_2", status="canceled"))


@pytest.fixture(autouse=True)
def _endpoint(site: Site) -> Iterator[None]:
    settings: dict[str, Any] = {
        "ROOT_URLCONF": "tests.django.billing_urls",
        "WHISPERR_STRIPE_WEBHOOK_SECRET": SECRET,
    }
    with override_settings(**settings):
        yield
    SubscriptionState.objects.all().delete()


def post(body: str | bytes, header: str | None, **options: Any) -> Any:
    """Send a webhook, as strictly as a browser is checked."""
    headers = {} if header is None else {"Stripe-Signature": header}
    browser = Client(enforce_csrf_checks=True, **options)
    return browser.post("/webhooks/stripe/", body, "application/json", headers=headers)


def test_a_signed_webhook_is_tracked_and_its_state_is_kept(site: Site) -> None:
    for body in (BODY, BODY, ENDED):
        response = post(body, sign(body))
        assert (response.status_code, response.content) == (200, b"")
    assert site.sent() == [
        ("8842", "trial_started"),
        ("8842", "trial_started"),
        ("8842", "membership_ended"),
    ]
    assert [a.status for a in site.arrived()] == ["accepted", "duplicate", "accepted"]
    state = load_state("stripe:sub_1")
    assert state is not None
    assert state["status"] == "ended"


def test_a_webhook_without_a_meaning_is_answered_as_well(site: Site) -> None:
    body = to_body(make_event("product.created"))
    assert post(body, sign(body)).status_code == 200
    assert site.sent() == []


@pytest.mark.parametrize(
    ("body", "header"),
    [
        (BODY, None),
        (BODY, ""),
        (BODY, "t=1"),
        (BODY, "nonsense"),
        (BODY, sign(BODY, "whsec_another")),
        (BODY, sign(BODY, seconds=int(time.time()) - 3600)),
        (ENDED, sign(BODY)),
        (BODY, f"t={int(time.time())},v1=ü"),
        (b"\xff", sign(BODY)),
    ],
    ids=[
        *("none", "blank", "without a signature", "nonsense", "another secret", "an hour ago"),
        *("another body", "not ASCII", "not UTF-8"),
    ],
)
def test_a_webhook_that_stripe_has_not_signed_is_refused(
    site: Site, body: str | bytes, header: str | None
) -> None:
    assert post(body, header).status_code == 400
    assert site.sent() == []
    assert not SubscriptionState.objects.exists()


def test_only_post_is_allowed() -> None:
    assert Client().get("/webhooks/stripe/").status_code == 405


def test_each_secret_of_a_list_is_tried(site: Site) -> None:
    with override_settings(WHISPERR_STRIPE_WEBHOOK_SECRET=["whsec_new", f" {SECRET}\n"]):
        assert post(BODY, sign(BODY)).status_code == 200
        assert post(BODY, sign(BODY, "whsec_new")).status_code == 200
        assert post(BODY, sign(BODY, "whsec_old")).status_code == 400


def test_the_secret_may_be_in_the_environment(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPERR_STRIPE_WEBHOOK_SECRET", "whsec_environment")
    with override_settings(WHISPERR_STRIPE_WEBHOOK_SECRET=None):
        assert post(BODY, sign(BODY, "whsec_environment")).status_code == 200


def test_without_a_secret_no_webhook_is_accepted(site: Site) -> None:
    with (
        override_settings(WHISPERR_STRIPE_WEBHOOK_SECRET=None),
        pytest.raises(ImproperlyConfigured, match="WHISPERR_STRIPE_WEBHOOK_SECRET is not set"),
    ):
        post(BODY, sign(BODY, ""))


def test_without_the_package_the_error_says_what_to_install(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = sign(BODY)
    monkeypatch.setitem(sys.modules, "stripe", None)
    with pytest.raises(ImproperlyConfigured, match="pip install stripe"):
        post(BODY, header)
    assert [message.id for message in run_checks(tags=["whisperr"])] == ["whisperr.E007"]


@pytest.mark.parametrize(
    ("secret", "ids"),
    [(None, ["whisperr.W011"]), (SECRET, []), ([SECRET, "sk_secret"], ["whisperr.E007"])],
    ids=["none", "a secret", "an API key"],
)
def test_a_check_reports_a_missing_or_wrong_secret(secret: object, ids: list[str]) -> None:
    with override_settings(WHISPERR_STRIPE_WEBHOOK_SECRET=secret):
        found = run_checks(tags=["whisperr"])
    assert [message.id for message in found] == ids
    assert "sk_secret" not in repr(found)


def test_a_failure_is_an_error_after_which_the_webhook_comes_again(site: Site) -> None:
    def fails(customer: str) -> str:
        raise LookupError(customer)

    body = to_body(make_event("customer.subscription.created", metadata={}))
    with override_settings(WHISPERR_BILLING_USER_OF=fails):
        assert post(body, sign(body), raise_request_exception=False).status_code == 500
    with override_settings(WHISPERR_BILLING_USER_OF=lambda customer: f"user of {customer}"):
        assert post(body, sign(body)).status_code == 200
    assert site.sent() == [("user of cus_1", "trial_started")]


def test_with_the_outbox_a_webhook_is_rows(site: Site, outbox: None) -> None:
    assert post(BODY, sign(BODY)).status_code == 200
    assert get_written() == [("8842", "trial_started")]


def test_an_async_server_runs_the_view_too(site: Site) -> None:
    async def send() -> Any:
        headers = {"Stripe-Signature": sign(BODY)}
        url = "/webhooks/stripe/"
        return await AsyncClient().post(url, BODY, "application/json", headers=headers)

    assert async_to_sync(send)().status_code == 200
    assert site.sent() == [("8842", "trial_started")]
