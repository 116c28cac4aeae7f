"""A project with dj-stripe, in a process of its own: prints what its receiver tracks.

Its settings are not those of the other tests: dj-stripe has many tables.
"""

from __future__ import annotations

import json
import socket
import sys
from typing import NoReturn

import django
from django.conf import settings

KEY = "sk_test_" + 24 * "1"

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "djstripe",
        "whisperr.django",
        "whisperr.django.billing",
    ],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DJSTRIPE_FOREIGN_KEY_TO_FIELD="id",
    MIGRATION_MODULES={"djstripe": None},  # its migrations take most of a minute
    STRIPE_TEST_SECRET_KEY=KEY,
    STRIPE_LIVE_MODE=False,
    USE_TZ=True,
    WHISPERR_DISABLED=True,
)
django.setup()

from django.core.management import call_command  # noqa: E402  # after the set-up
from djstripe.models import Account, APIKey, Event  # noqa: E402  # likewise
from djstripe.signals import WEBHOOK_SIGNALS  # noqa: E402  # likewise

from tests.django.stripe_events import make_event  # noqa: E402  # likewise
from tests.docs.page import get_blocks  # noqa: E402  # likewise
from whisperr.django import load_state  # noqa: E402  # likewise
from whisperr.testing import capture  # noqa: E402  # likewise


def refuse(*_: object, **__: object) -> NoReturn:
    raise ConnectionError("a test must not reach Stripe")


socket.getaddrinfo = refuse
call_command("migrate", run_syncdb=True, verbosity=0)
account = Account.objects.create(id="acct_1", livemode=False)
APIKey.objects.create(
    type="secret", secret=KEY, livemode=False, id="key_1", djstripe_owner_account=account
)
for signal in WEBHOOK_SIGNALS.values():
    signal.receivers.clear()  # those of dj-stripe ask Stripe's API

(receiver,) = [one for one in get_blocks("docs/billing/django.md", "python") if "djstripe" in one]
connected: dict[str, object] = {"__name__": "receivers"}  # a signal keeps receivers weakly
exec(receiver, connected)

first = make_event("customer.subscription.created")
second = make_event("customer.subscription.deleted", "evt_2", status="canceled")
with capture() as events:
    for payload in (first, first, second):
        Event.process(payload, api_key=KEY)  # what its view calls after the verification
state = load_state("stripe:sub_1")
tracked = [(one.user, one.type) for one in events]
sys.stdout.write(json.dumps([tracked, state and state["status"]]))
