"""The subscriptions of users."""

from django.conf import settings
from django.db import models

from .plans import Plan


class Subscription(models.Model):
    """The plan of one user, the user's id at the payment provider, and the tenant."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    customer = models.CharField(max_length=40, unique=True)
    tenant = models.CharField(max_length=40)
    plan = models.CharField(max_length=20, choices=Plan.choices, default=Plan.TRIAL)
    trial_ends_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.customer}: {self.plan}"
