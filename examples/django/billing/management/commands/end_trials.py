"""`manage.py end_trials` ends the trials that are over; run it by cron."""

from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils import timezone

from billing.models import Subscription
from whisperr.django import track_on_commit


class Command(BaseCommand):
    """Ends trials one by one; the events are delivered when the command ends."""

    help = "End the trials that are over."

    def handle(self, *_: Any, **__: Any) -> None:
        """End the trials."""
        over = Subscription.objects.filter(plan="trial", trial_ends_at__lt=timezone.now())
        for subscription in over:
            with transaction.atomic():
                subscription.plan = "free"
                subscription.save()
                track_on_commit(
                    subscription.user_id, "trial_expired", {"ended": subscription.trial_ends_at}
                )
        self.stdout.write("trials ended")
