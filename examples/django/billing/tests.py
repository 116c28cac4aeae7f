"""Tests what the shop tracks: most with recorded events, some with requests to the local server."""

import json
from datetime import timedelta
from decimal import Decimal

from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import TestCase
from django.utils import timezone

from whisperr.dev import LocalServer
from whisperr.django import get_client
from whisperr.testing import capture, send_to

from .events import LoggedIn, PlanUpgraded, ReportExported, TrialExpired, UpgradeFailed
from .models import Subscription
from .plans import Plan
from .signature import sign

ACME = {"host": "acme.localhost"}


class ShopTestCase(TestCase):
    def setUp(self) -> None:
        self.ada = User.objects.create_user("ada", "ada@example.com", "secret")
        self.subscription = Subscription.objects.create(
            user=self.ada, customer="cus_ada", tenant="acme"
        )


class TrackingTests(ShopTestCase):
    """Every client of the process records here; copy `setUp` into your project."""

    def setUp(self) -> None:
        super().setUp()
        recording = capture(strict=True)  # whatever the settings say
        self.events = recording.__enter__()
        self.addCleanup(recording.__exit__, None, None, None)

    def test_a_login_is_tracked_for_the_user_that_logs_in(self) -> None:
        self.client.post("/login/", {"name": "ada", "password": "secret"}, headers=ACME)
        event = LoggedIn(method="password", tenant="acme", region="eu")
        self.events.assert_tracked(event, user=self.ada.pk, times=1)
        self.events.assert_identified(self.ada.pk, email="ada@example.com")

    def test_a_failed_login_is_not_tracked(self) -> None:
        self.client.post("/login/", {"name": "ada", "password": "wrong"}, headers=ACME)
        self.assertEqual(self.events.everything, [])

    def test_an_upgrade_is_tracked_when_it_commits(self) -> None:
        self.client.force_login(self.ada)
        # A TestCase never commits: this runs the functions of `on_commit`.
        with self.captureOnCommitCallbacks(execute=True):
            self.client.post("/plan/", {"plan": "pro"}, headers=ACME)
        event = PlanUpgraded(
            plan=Plan.PRO,
            before=Plan.TRIAL,
            price=Decimal("19.90"),
            tenant="acme",
            region="eu",
        )
        self.events.assert_tracked(event, user=self.ada.pk, times=1)

    def test_a_declined_card_leaves_no_upgrade(self) -> None:
        self.client.force_login(self.ada)
        with self.captureOnCommitCallbacks(execute=True):
            response = self.client.post("/plan/", {"plan": "platinum"}, headers=ACME)
        self.assertEqual(response.status_code, 402)
        event = UpgradeFailed(
            plan=Plan.PLATINUM, reason="card_declined", tenant="acme", region="eu"
        )
        self.events.assert_tracked(event, user=self.ada.pk, times=1)
        self.events.assert_not_tracked(PlanUpgraded)

    def test_a_plan_that_is_not_for_sale_is_refused(self) -> None:
        self.client.force_login(self.ada)
        for form in ({"plan": "gold"}, {"plan": "trial"}, {}):
            self.assertEqual(self.client.post("/plan/", form).status_code, 400)
        self.assertEqual(self.events, [])

    async def test_the_async_view_tracks_for_its_user(self) -> None:
        await self.async_client.aforce_login(self.ada)
        # The host of Django's AsyncClient is fixed, and has no tenant; the demo has one here, too.
        response = await self.async_client.get("/export/")
        self.assertEqual(response.status_code, 200)
        event = ReportExported(format="csv", region="eu")
        self.events.assert_tracked(event, user=self.ada.pk, times=1)

    def test_a_host_without_a_tenant_gives_events_none(self) -> None:
        self.client.force_login(self.ada)
        self.client.get("/export/", headers={"host": "127.0.0.1:8000"})
        self.events.assert_tracked(ReportExported(format="csv", region="eu"), times=1)

    def test_the_command_ends_trials_that_are_over(self) -> None:
        self.subscription.trial_ends_at = ended = timezone.now() - timedelta(days=1)
        self.subscription.save()
        with self.captureOnCommitCallbacks(execute=True):
            call_command("end_trials", verbosity=0)
        event = TrialExpired(ended=ended, tenant="acme", region="eu")
        self.events.assert_tracked(event, user=self.ada.pk, times=1)


class DeliveryTests(ShopTestCase):
    """A local server for each test validates what arrives; copy `setUp` into your project."""

    def setUp(self) -> None:
        super().setUp()
        self.server = LocalServer().start()
        self.addCleanup(self.server.close)
        sending = send_to(self.server.url)
        sending.__enter__()
        self.addCleanup(sending.__exit__, None, None, None)

    def test_a_webhook_that_comes_twice_is_one_event(self) -> None:
        invoice = {"customer": "cus_ada", "amount_due": 1990, "currency": "eur"}
        now = int(timezone.now().timestamp())
        body = json.dumps(
            {
                "id": "evt_1PxQ7b",
                "type": "invoice.payment_failed",
                "created": now,
                "data": {"object": invoice},
            }
        )
        for _ in range(2):
            response = self.client.post(
                "/webhook/",
                body,
                content_type="application/json",
                headers={"Provider-Signature": sign(body.encode(), "whsec_example", now)},
            )
            self.assertEqual(response.status_code, 200)
        self.assertTrue(get_client().flush(10))
        event, again = self.server.arrivals()
        self.assertEqual((event.status, again.status), ("accepted", "duplicate"))
        self.assertEqual((event.user, event.type), (str(self.ada.pk), "billing_issue_started"))
        self.assertEqual(event.body["properties"]["price"], 19.9)
        self.assertEqual(event.body["properties"]["tenant"], "acme")

    def test_a_webhook_with_a_wrong_signature_is_refused(self) -> None:
        response = self.client.post(
            "/webhook/",
            "{}",
            content_type="application/json",
            headers={"Provider-Signature": "t=1,v1=00"},
        )
        self.assertEqual(response.status_code, 403)
        self.assertTrue(get_client().flush(10))
        self.assertEqual(self.server.arrivals(), [])

    def test_the_metrics_count_what_is_delivered(self) -> None:
        self.client.post("/login/", {"name": "ada", "password": "secret"})
        self.assertTrue(get_client().flush(10))
        for path in ("/metrics", "/metrics/"):
            self.assertContains(
                self.client.get(path), "\nwhisperr_client_event_delivered_total 2.0\n"
            )
