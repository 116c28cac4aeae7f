"""A task of Django whose backend is a table; as a program it makes the tables and sends one."""

from __future__ import annotations

from importlib import import_module

import django
from django.core.management import call_command

from tests.hosts.trials.apps.waiting import Whisperr

# The same, before Django 6 in a package of its own.
tasks = import_module("django.tasks" if django.VERSION >= (6,) else "django_tasks")
whisperr = Whisperr()


@tasks.task
def pay() -> None:
    whisperr.track("user_8842", "payment_failed")


if __name__ == "__main__":
    django.setup()
    call_command("migrate", verbosity=0)
    import_module("shop").pay.enqueue()  # by the name that the worker knows
