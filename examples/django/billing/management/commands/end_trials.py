"""`manage.py end_trials` ends the trials that are over; run it by cron."""

from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils import timezone

from billing.events import TrialExpired
from billing.models import Subscription
from billing.plans import Plan
from whisperr import scope
from whisperr.django import track_on_commit


class Command(BaseCommand):
    """Ends trials one by one; the events are delivered when the command ends."""

    help = "End the trials that are over."

    def handle(self, *_: Any, **__: Any) -> None:
        """End the trials."""
        over = Subscription.objects.filter(plan=Plan.TRIAL, trial_ends_at__lt=timezone.now())
        for subscription in over:
            assert subscription.trial_ends_at  # as the filter says
            expired = TrialExpired(ended=subscription.trial_ends_at)
            with scope(tenant=subscription.tenant), transaction.atomic():
                subscription.plan = Plan.FREE
                subscription.save()
                track_on_commit(subscription.user_id, expired)
        self.stdout.write("trials ended")
