"""Tests what the shop tracks, with real requests to the local server."""

import json
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import TestCase
from django.utils import timezone

from whisperr.dev import Arrival, LocalServer
from whisperr.django import get_client
from whisperr.testing import send_to

from .models import Subscription
from .signature import sign


class TrackingTestCase(TestCase):
    """A local server for each test; copy this into your project."""

    def setUp(self) -> None:
        self.server = LocalServer().start()
        self.addCleanup(self.server.close)
        sending = send_to(self.server.url)  # whatever the settings say
        sending.__enter__()
        self.addCleanup(sending.__exit__, None, None, None)

    def sent(self, **filters: Any) -> list[Arrival]:
        """Deliver what is queued; return what arrived."""
        self.assertTrue(get_client().flush(10))
        self.assertEqual(self.server.arrivals(status="refused"), [])
        return self.server.arrivals(**filters)


class ShopTests(TrackingTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ada = User.objects.create_user("ada", "ada@example.com", "secret")
        self.subscription = Subscription.objects.create(user=self.ada, customer="cus_ada")

    def test_a_login_is_tracked_for_the_user_that_logs_in(self) -> None:
        self.client.post("/login/", {"name": "ada", "password": "secret"})
        event, identify = self.sent()
        self.assertEqual((event.user, event.type), (str(self.ada.pk), "logged_in"))
        self.assertEqual(identify.body["channels"][0]["address"], "ada@example.com")

    def test_a_failed_login_is_not_tracked(self) -> None:
        self.client.post("/login/", {"name": "ada", "password": "wrong"})
        self.assertEqual(self.sent(), [])

    def test_an_upgrade_is_tracked_when_it_commits(self) -> None:
        self.client.force_login(self.ada)
        # A TestCase never commits: this runs the functions of `on_commit`.
        with self.captureOnCommitCallbacks(execute=True):
            self.client.post("/plan/", {"plan": "pro"})
        (event,) = self.sent(type="plan_upgraded")
        self.assertEqual(
            event.body["properties"], {"plan": "pro", "before": "trial", "price": 19.9}
        )

    def test_a_declined_card_leaves_no_upgrade(self) -> None:
        self.client.force_login(self.ada)
        with self.captureOnCommitCallbacks(execute=True):
            response = self.client.post("/plan/", {"plan": "platinum"})
        self.assertEqual(response.status_code, 402)
        self.assertEqual([arrival.type for arrival in self.sent()], ["upgrade_failed"])

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
        self.assertEqual([a.status for a in self.sent()], ["accepted", "duplicate"])
        event = self.sent()[0]
        self.assertEqual((event.user, event.type), (str(self.ada.pk), "billing_issue_started"))
        self.assertEqual(event.body["properties"]["price"], 19.9)

    def test_a_webhook_with_a_wrong_signature_is_refused(self) -> None:
        response = self.client.post(
            "/webhook/",
            "{}",
            content_type="application/json",
            headers={"Provider-Signature": "t=1,v1=00"},
        )
        self.assertEqual(response.status_code, 403)
        self.assertEqual(self.sent(), [])

    async def test_the_async_view_tracks_for_its_user(self) -> None:
        await self.async_client.aforce_login(self.ada)
        response = await self.async_client.get("/export/")
        self.assertEqual(response.status_code, 200)
        (event,) = self.sent()
        self.assertEqual((event.user, event.type), (str(self.ada.pk), "report_exported"))

    def test_the_command_ends_trials_that_are_over(self) -> None:
        self.subscription.trial_ends_at = timezone.now() - timedelta(days=1)
        self.subscription.save()
        with self.captureOnCommitCallbacks(execute=True):
            call_command("end_trials", verbosity=0)
        (event,) = self.sent()
        self.assertEqual((event.user, event.type), (str(self.ada.pk), "trial_expired"))
