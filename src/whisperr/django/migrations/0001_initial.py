"""The tables of the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

import django.db.models.functions.datetime
from django.db import migrations, models

if TYPE_CHECKING:
    from typing import ClassVar

    from django.db.migrations.operations.base import Operation


class Migration(migrations.Migration):
    """Make both tables."""

    initial: ClassVar[bool] = True

    dependencies: ClassVar[list[tuple[str, str]]] = []

    operations: ClassVar[list[Operation]] = [
        migrations.CreateModel(
            name="DeadLetter",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("data", models.BinaryField()),
                ("reason", models.CharField(max_length=32)),
                ("message", models.TextField(blank=True, default="")),
                ("status", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("created_at", models.DateTimeField(editable=False)),
                (
                    "refused_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
            ],
            options={
                "verbose_name": "dead letter",
                "verbose_name_plural": "dead letters",
            },
        ),
        migrations.CreateModel(
            name="OutboxEvent",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("data", models.BinaryField()),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                ("token", models.CharField(blank=True, default="", editable=False, max_length=32)),
                ("leased_until", models.DateTimeField(blank=True, editable=False, null=True)),
            ],
            options={
                "verbose_name": "waiting event",
                "verbose_name_plural": "waiting events",
            },
        ),
    ]
