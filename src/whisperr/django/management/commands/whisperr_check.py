"""`manage.py whisperr_check`: find out why nothing arrives."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from whisperr._integrations.checkup import Finding, checkup
from whisperr.django.conf import config


class Command(BaseCommand):
    """Prints a line for each step; fails when one of them is wrong."""

    help: str = (
        "Check the settings of whisperr, the host name, the encryption and whether the key is "
        "accepted. Sends one request without events; nothing is stored."
    )
    # This command finds the same mistakes, and continues after them.
    requires_system_checks: tuple[str, ...] = ()

    def handle(self, *_: Any, **__: Any) -> None:  # noqa: ANN401  # as Django calls it
        """Run the steps."""
        styles = {"ok": self.style.SUCCESS, "wrong": self.style.ERROR}
        wrong = []
        try:
            findings = checkup(config())
        except (ImproperlyConfigured, ValueError) as error:
            findings = iter([Finding("configuration", "wrong", str(error))])
        for found in findings:
            style = styles.get(found.state, self.style.WARNING)
            self.stdout.write(f"{style(f'{found.state:<8}')} {found.name}: {found.text}")
            wrong += [found.name] if found.state == "wrong" else []
        if wrong:
            raise CommandError(f"wrong: {', '.join(wrong)}")
