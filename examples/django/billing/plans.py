"""The plans of the shop, and what they cost."""

from decimal import Decimal

from django.db.models import TextChoices


class Plan(TextChoices):
    TRIAL = "trial"
    FREE = "free"
    PRO = "pro"
    TEAM = "team"
    PLATINUM = "platinum"


PRICES = {
    Plan.PRO: Decimal("19.90"),
    Plan.TEAM: Decimal("49.00"),
    Plan.PLATINUM: Decimal("990.00"),
}
