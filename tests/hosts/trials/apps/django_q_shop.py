"""A task of django-q2; as a program it makes the tables and sends one."""

from __future__ import annotations

from tests.hosts.trials.apps.waiting import Whisperr

whisperr = Whisperr()


def pay() -> None:
    whisperr.track("user_8842", "payment_failed")


if __name__ == "__main__":
    import django
    from django.core.management import call_command

    django.setup()
    from django_q.tasks import async_task

    call_command("migrate", verbosity=0)
    async_task("shop.pay")
