"""The table of the states of subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import django.db.models.functions.datetime
from django.db import migrations, models

if TYPE_CHECKING:
    from typing import ClassVar

    from django.db.migrations.operations.base import Operation


class Migration(migrations.Migration):
    """Make the table."""

    initial: ClassVar[bool] = True

    dependencies: ClassVar[list[tuple[str, str]]] = []

    operations: ClassVar[list[Operation]] = [
        migrations.CreateModel(
            name="SubscriptionState",
            fields=[
                ("key", models.CharField(max_length=255, primary_key=True, serialize=False)),
                ("state", models.JSONField(default=dict)),
                (
                    "updated_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
            ],
            options={
                "verbose_name": "state of a subscription",
                "verbose_name_plural": "states of subscriptions",
            },
        ),
    ]
