"""docs/billing/django.md holds: every block of Python runs, and does what the page says."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from hashlib import sha256
from hmac import new as sign
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from django.test import RequestFactory

from tests.django.projects import run_in, start_project
from tests.django.test_page import get_module_name
from tests.docs.page import get_blocks, get_text
from whisperr.django import save_state
from whisperr.django.billing.models import SubscriptionState
from whisperr.django.conf import SETTINGS

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from tests.django.site import Site

PAGE = "docs/billing/django.md"
BLOCKS = {get_module_name(block): block for block in get_blocks(PAGE, "python")}
ROOT = Path(__file__).resolve().parents[2]


def run(name: str, **given: Any) -> Any:
    """Run a block as the file that it is of."""
    module = ModuleType(name)
    vars(module).update(given)
    exec(compile(BLOCKS[name], f"{PAGE}, {name}", "exec", dont_inherit=True), vars(module))
    return module


def test_the_settings_are_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", "whsec_page")
    settings = run("settings", INSTALLED_APPS=[])
    assert settings.INSTALLED_APPS == ["whisperr.django.billing"]
    names = {name for name in vars(settings) if name.startswith("WHISPERR_")}
    assert len(names) == 2
    assert names <= SETTINGS.known
    assert SubscriptionState._meta.db_table in get_text(PAGE)


def test_the_function_of_users_returns_their_ids(ada: User) -> None:
    accounts = run("accounts")
    assert accounts.get_user_id("ada") == str(ada.pk)
    assert accounts.get_user_id("cus_1") is None


def test_a_forgotten_subscription_leaves_no_row() -> None:
    for key in ("stripe:sub_1", "stripe:sub_2"):
        save_state({"key": key, "at": "2026-01-01T00:00:00Z", "event": "evt_1"})
    run("privacy").forget("sub_1")
    assert [row.key for row in SubscriptionState.objects.all()] == ["stripe:sub_2"]
    SubscriptionState.objects.all().delete()


def test_the_view_of_paddle_verifies_and_tracks(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("paddle_billing")
    monkeypatch.setenv("PADDLE_WEBHOOK_SECRET", "pdl_secret")
    view = run("views").paddle_webhook
    now = int(time.time())
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    data = {
        "id": "sub_1",
        "status": "canceled",
        "customer_id": "ctm_1",
        "custom_data": {"external_user_id": "8842"},
        "canceled_at": at,
        "items": [],
    }
    webhook = {"event_id": "evt_1", "event_type": "subscription.canceled", "occurred_at": at}
    body = json.dumps({**webhook, "notification_id": "ntf_1", "data": data})
    digest = sign(b"pdl_secret", f"{now}:{body}".encode(), sha256).hexdigest()
    for header, status in ((f"ts={now};h1={digest}", 200), (f"ts={now};h1=00", 400)):
        headers = {"Paddle-Signature": header}
        request = RequestFactory().post("/", body, "application/json", headers=headers)
        assert view(request).status_code == status
    assert site.sent() == [("8842", "membership_ended")]
    SubscriptionState.objects.all().delete()


def test_dj_stripe_calls_the_receiver_with_its_event() -> None:
    pytest.importorskip("djstripe")
    done = subprocess.run(
        [sys.executable, "-m", "tests.django.dj_stripe_project"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    events, status = json.loads(done.stdout.splitlines()[-1])
    assert events == [["8842", "trial_started"], ["8842", "membership_ended"]]
    assert status == "ended"


def test_a_newcomer_pastes_the_page_into_a_new_project_and_its_test_passes(tmp_path: Path) -> None:
    pytest.importorskip("stripe")
    files = {f"{name}.py": BLOCKS[name] for name in ("accounts", "tests")}
    settings = 'INSTALLED_APPS += ["whisperr.django"]\n' + BLOCKS["settings"]
    start_project(tmp_path, settings, files | {"shop/urls.py": BLOCKS["urls"]})
    variables = {"STRIPE_WEBHOOK_SECRET": "whsec_page", "WHISPERR_DISABLED": "1"}
    for command in (("migrate", "-v0"), ("test",)):
        done = run_in(tmp_path, "manage.py", *command, **variables)
        assert done.returncode == 0, done.stderr
    assert "Ran 1 test" in done.stderr
