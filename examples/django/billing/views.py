"""The views of the shop, each of which tracks."""

import json
from datetime import datetime, timezone
from decimal import Decimal

from django.conf import settings
from django.contrib.auth import aget_user, authenticate, login
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import (
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseForbidden,
    JsonResponse,
)
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt, ensure_csrf_cookie
from django.views.decorators.http import require_POST

from whisperr import scope
from whisperr.billing import BillingIssueStarted
from whisperr.django import WhisperrRequest, get_client

from .events import LoggedIn, PlanUpgraded, ReportExported, UpgradeFailed
from .models import Subscription
from .plans import PRICES, Plan
from .signature import is_signed

CARD_LIMIT = 100


@ensure_csrf_cookie
def sign_in(request: WhisperrRequest) -> HttpResponse:
    """Log a user in. Events after `login` belong to that user."""
    if request.method != "POST":
        return HttpResponse("post a name and a password")
    user = authenticate(
        request, username=request.POST.get("name"), password=request.POST.get("password")
    )
    if user is None:
        return HttpResponseForbidden("wrong name or password")
    login(request, user)
    request.whisperr.track(LoggedIn(method="password"))
    request.whisperr.identify(email=user.email, traits={"joined": user.date_joined})
    return HttpResponse("welcome")


@require_POST
@login_required
def change_plan(request: WhisperrRequest) -> HttpResponse:
    """Change the plan and charge for it; if the charge fails, neither row nor event remains."""
    try:
        plan = Plan(request.POST["plan"])
        price = PRICES[plan]
    except (KeyError, ValueError):
        return HttpResponseBadRequest("no such plan")
    try:
        with transaction.atomic():
            subscription = get_object_or_404(Subscription, user=request.user)
            before, subscription.plan = Plan(subscription.plan), plan
            subscription.save()
            request.whisperr.track_on_commit(PlanUpgraded(plan=plan, before=before, price=price))
            charge(subscription, price)
    except CardDeclinedError:
        request.whisperr.track(UpgradeFailed(plan=plan, reason="card_declined"))
        return HttpResponse("declined", status=402)
    return HttpResponse("changed")


async def export(request: WhisperrRequest) -> HttpResponse:
    """Track in an async view; if the user is not loaded yet, the middleware reads it later."""
    request.whisperr.track(ReportExported(format="csv"))
    count = await Subscription.objects.acount()
    user = await aget_user(request)
    return HttpResponse(f"subscriptions,{count}\nfor,{user}\n", content_type="text/csv")


@csrf_exempt  # a provider signs instead
@require_POST
def webhook(request: WhisperrRequest) -> HttpResponse:
    """Handle a provider's webhook, whose id becomes the message id, so that it counts once."""
    header = request.headers.get("Provider-Signature", "")
    if not is_signed(request.body, header, settings.WEBHOOK_SECRET):
        return HttpResponseForbidden("not signed by the provider")
    event = json.loads(request.body)
    if event["type"] == "invoice.payment_failed":
        invoice = event["data"]["object"]
        subscription = get_object_or_404(Subscription, customer=invoice["customer"])
        issue = BillingIssueStarted(
            price=Decimal(invoice["amount_due"]) / 100,
            currency=invoice["currency"].upper(),
            store="provider",
            has_access=True,
        )
        with scope(tenant=subscription.tenant):  # a provider's request has no tenant
            get_client().track(
                subscription.user_id,
                issue,
                message_id=event["id"],
                occurred_at=datetime.fromtimestamp(event["created"], timezone.utc),
            )
    return JsonResponse({"received": True})


class CardDeclinedError(Exception):
    """The provider declined the card."""


def charge(subscription: Subscription, price: Decimal) -> None:
    """Stand in for a payment provider, which declines what is above the limit of the card."""
    if price > CARD_LIMIT:
        raise CardDeclinedError(subscription.customer)
