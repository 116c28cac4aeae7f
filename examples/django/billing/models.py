"""The subscriptions of users."""

from django.conf import settings
from django.db import models


class Subscription(models.Model):
    """The plan of one user, and the user's id at the payment provider."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    customer = models.CharField(max_length=40, unique=True)
    plan = models.CharField(max_length=20, default="trial")
    trial_ends_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.customer}: {self.plan}"
