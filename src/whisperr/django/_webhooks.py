"""Handles webhooks of billing providers: their signals, and the states of subscriptions."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.http import HttpResponse, HttpResponseBadRequest
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from whisperr._process.logger import log
from whisperr.errors import StoreError

from .billing.states import get_alias, has_table, load_state, save_state
from .conf import STRIPE_SECRET, get_settings_client, get_user_function

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from django.http import HttpRequest

    from whisperr.billing import Signals

_NOT_STORED = "not_stored"


def track_webhook(
    signals: Callable[..., Signals],
    payload: object,
    *,
    user_of: Callable[[str], object] | None = None,
) -> Signals:
    """Track what the webhook of a billing provider means, and store the state of its subscription.

    Verify the signature first. With `"whisperr.django.billing"` in `INSTALLED_APPS`, this loads the
    state, tracks the signals and saves the new state in one transaction. With the outbox in the
    same database, the events are in that transaction as well. Without that app there is no state.

    Example::

        track_webhook(paddle.signals, request.body)

    Args:
        signals: The function of the provider, such as `whisperr.billing.paddle.signals`.
        payload: The webhook, as that function takes it.
        user_of: Takes the provider's id of a customer and returns your id of the user. None:
            `WHISPERR_BILLING_USER_OF`, if it is set.

    Returns:
        The signals, with what was skipped and why.

    Raises:
        StoreError: The outbox could not store an event. Answer with an error, so that the provider
            sends the webhook again.
        django.core.exceptions.ImproperlyConfigured: A setting is wrong.
        django.core.exceptions.SynchronousOnlyOperation: An event loop runs in this thread: call
            `await sync_to_async(track_webhook)(...)`.

    Exceptions of `user_of` and of the database reach the caller, and nothing is stored.

    .. versionadded:: 1.0
    """
    user_of = get_user_function() if user_of is None else user_of
    has_states = has_table()
    with transaction.atomic(using=get_alias()) if has_states else nullcontext():
        previous = load_state if has_states else None
        found = signals(payload, previous=previous, user_of=user_of)
        _track(found)
        if has_states and found.state is not None:
            save_state(found.state)
    for skipped in found.skipped:
        log(
            "debug",
            "webhook %s: skipped: %s",
            skipped.event_type or "without a type",
            skipped.reason,
        )
    return found


def _track(found: Signals) -> None:
    """Track the signals; raise StoreError if the outbox could not write a row."""
    client = get_settings_client()
    before = client.stats().not_accepted.get(_NOT_STORED, 0) if found else 0
    ids = client.track_signals(found)
    # Another thread may have counted one: then the webhook comes again, and counts once.
    if None in ids and client.stats().not_accepted.get(_NOT_STORED, 0) > before:
        raise StoreError("an event of the webhook could not be stored in the outbox")


@csrf_exempt
@require_POST
def stripe_webhook(request: HttpRequest) -> HttpResponse:
    """Handle a webhook of Stripe: verify its signature, and track what it means.

    It needs the package `stripe`, and the signing secret of the endpoint as
    `WHISPERR_STRIPE_WEBHOOK_SECRET`, in the settings or in the environment.

    Example::

        urlpatterns = [path("webhooks/stripe/", stripe_webhook)]

    Args:
        request: The request of Stripe.

    Returns:
        200 if the webhook was handled, also if it means nothing; 400 if its signature is wrong. Any
        exception becomes a 500, after which Stripe sends the webhook again.

    Raises:
        django.core.exceptions.ImproperlyConfigured: There is no secret, or no package.

    .. versionadded:: 1.0
    """
    if not _is_signed(request.body, request.headers.get("Stripe-Signature")):
        return HttpResponseBadRequest("not signed with the secret of this endpoint")
    from whisperr.billing.stripe import signals

    track_webhook(signals, request.body)
    return HttpResponse("")


def _is_signed(body: bytes, header: str | None) -> bool:
    """Return whether one of the secrets has signed the body within the last five minutes."""
    stripe: Any = import_stripe()
    secrets = get_stripe_secrets()
    if not secrets:
        raise ImproperlyConfigured(
            f"{STRIPE_SECRET} is not set: set it to the signing secret of the endpoint (whsec_...)"
        )
    for secret in secrets:
        try:
            stripe.WebhookSignature.verify_header(
                body, header, secret, stripe.Webhook.DEFAULT_TOLERANCE
            )
        except stripe.SignatureVerificationError:  # it may be another secret
            continue
        except (ValueError, TypeError):  # a body that is not UTF-8, a header that is not ASCII
            return False
        return True
    return False


def import_stripe() -> ModuleType:
    """Return the package of Stripe; raises ImproperlyConfigured if it is not installed."""
    try:
        import stripe
    except ModuleNotFoundError as error:
        if error.name != "stripe":
            raise
        raise ImproperlyConfigured(
            "stripe_webhook verifies signatures with the package stripe: pip install stripe"
        ) from error
    return stripe


def get_stripe_secrets() -> list[str]:
    """Return the secrets, none if the setting is missing.

    Raises ImproperlyConfigured, which shows no secret, for a malformed one.
    """
    given = getattr(settings, STRIPE_SECRET, None) or os.environ.get(STRIPE_SECRET) or ()
    secrets = [given] if isinstance(given, str) else given
    if not isinstance(secrets, (list, tuple)) or not all(map(_is_secret, secrets)):
        raise ImproperlyConfigured(
            f"{STRIPE_SECRET}: must be a signing secret (whsec_...), or a list of them"
        )
    return [secret.strip() for secret in secrets]


def _is_secret(value: object) -> bool:
    return isinstance(value, str) and value.strip().startswith("whsec_")
