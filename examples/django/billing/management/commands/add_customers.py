"""`manage.py add_customers` adds the two customers of the example, with the password `secret`."""

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from django.utils import timezone

from billing.models import Subscription


class Command(BaseCommand):
    """Adds the customers; it tracks nothing."""

    help = "Add ada, a customer of the tenant acme, and bob, whose trial at blue is over."

    def handle(self, *_: Any, **__: Any) -> None:
        """Add the customers."""
        ada = User.objects.create_user("ada", "ada@example.com", "secret")
        bob = User.objects.create_user("bob", "bob@example.com", "secret")
        over = timezone.now() - timedelta(days=1)
        Subscription.objects.create(user=ada, customer="cus_ada", tenant="acme")
        Subscription.objects.create(user=bob, customer="cus_bob", tenant="blue", trial_ends_at=over)
        self.stdout.write("added ada and bob")
