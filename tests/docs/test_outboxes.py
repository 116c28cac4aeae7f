"""docs/delivery/outboxes.md holds: its settings are accepted, its commands are understood.

`tests/django/test_relay.py` compares the options of the relay with the code.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.docs.page import get_blocks, get_text
from tests.docs.pasted import run

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "docs/delivery/outboxes.md"
needs_django = pytest.mark.skipif(find_spec("django") is None, reason="django: not installed")
# A project with the settings of the page: it makes the tables, and writes one row.
PROGRAM = """
import django
from django.core.management import call_command

django.setup()
call_command("migrate", verbosity=0)

from whisperr.django import get_client
from whisperr.django.models import OutboxEvent

get_client().track("user_8842", "payment_failed")
print(OutboxEvent.objects.count())
"""
# Parses the options of commands; a wrong one ends it with an error.
PARSE = """
import django
from django.core.management import get_commands, load_command_class

django.setup()
for name, options in {calls!r}:
    command = load_command_class(get_commands()[name], name)
    command.create_parser("manage.py", name).parse_args(options.split())
"""
DATABASE = '\nDATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "app.db"}}\n'


@needs_django
def test_with_the_settings_of_the_page_an_event_is_a_row(tmp_path: Path) -> None:
    (settings,) = get_blocks(PAGE, "python")
    (tmp_path / "settings.py").write_text(settings + DATABASE, encoding="utf-8")
    done = run(tmp_path, PROGRAM, DJANGO_SETTINGS_MODULE="settings", WHISPERR_API_KEY="wrk_test")
    assert (done.stdout, done.stderr) == ("1\n", "")


@needs_django
def test_the_commands_of_django_are_understood(tmp_path: Path) -> None:
    calls = re.findall(r"manage\.py (whisperr_\w+)([^`\n\"]*)", get_text(PAGE))
    assert {name for name, _ in calls} == {"whisperr_outbox", "whisperr_relay"}
    (settings,) = get_blocks(PAGE, "python")
    (tmp_path / "settings.py").write_text(settings + DATABASE, encoding="utf-8")
    run(tmp_path, PARSE.format(calls=calls), DJANGO_SETTINGS_MODULE="settings")
