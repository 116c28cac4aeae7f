"""Makes billing signals of the webhooks of Stripe.

`signals` is pure: it reads one event and, if you pass it, the state that you stored. It needs no
package of Stripe and verifies no signature: do that first, with Stripe's package.

Several events come for one cause, and one of them is the signal: `invoice.paid` comes beside
`invoice.payment_succeeded`, and `invoice.payment_failed` beside `customer.subscription.updated`
with the status `past_due`.

Facts about Stripe are from its documentation: "Using webhooks with subscriptions",
https://docs.stripe.com/billing/subscriptions/webhooks, "Types of events",
https://docs.stripe.com/api/events/types, and the pages of the objects.

.. versionadded:: 1.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from whisperr.billing._collector import Collector, Source, UserFields
from whisperr.billing._fields import Fields, PayloadError
from whisperr.billing._history import History
from whisperr.billing._signals import Signals, Skipped

from ._payments import read_checkout, read_invoice, read_refund
from ._shapes import Webhook, get_id, get_subscription, read_event
from ._subscriptions import read_subscription

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from whisperr.billing._history import Previous

__all__ = ["signals"]

_REASONS = {
    "customer.subscription.paused": "a trial ended without a payment method, and may resume",
    "customer.subscription.resumed": "customer.subscription.updated is the signal of a resumption",
    "customer.subscription.trial_will_end": "a trial ends soon: nothing changed yet",
    "invoice.payment_succeeded": "invoice.paid comes beside it, and is the signal",
    "invoice_payment.paid": "invoice.paid comes beside it, and is the signal",
    "invoice.payment_action_required": "the customer has to confirm: invoice.payment_failed is the "
    "signal",
    "invoice.overdue": "customer.subscription.updated with the status past_due is the signal",
    "payment_intent.payment_failed": "invoice.payment_failed is the signal for a subscription",
    "charge.failed": "invoice.payment_failed is the signal for a subscription",
    "charge.refunded": "refund.created and refund.updated are the signals",
    "charge.refund.updated": "refund.updated is the signal",
    "refund.failed": "a refund failed: nothing was granted",
    "charge.dispute.created": "a dispute: the bank takes the money back, no refund",
}


def signals(
    payload: object,
    *,
    previous: Previous = None,
    user_of: Callable[[str], object] | None = None,
    user_key: str = "external_user_id",
) -> Signals:
    """Return what a webhook of Stripe means.

    Never raises for a payload: what is not understood is in `skipped`, with the reason. What
    `previous` and `user_of` raise is passed on, so that your webhook fails and Stripe sends it
    again.

    Args:
        payload: The event: a dict, JSON as bytes or text, the `Event` of Stripe's package, or the
            `Event` of dj-stripe.
        previous: The stored state of the subscription, or a function that returns the state of a
            key, such as `states.get`.
        user_of: Returns your id of the user for Stripe's id of the customer, `cus_…`, or None. It
            is called only if neither the metadata nor the state has the user. For a refund without
            a customer, it gets the id of the charge or the payment intent.
        user_key: The key of `metadata` that has your id of the user.

    Returns:
        The signals, what was skipped, and the state to store. `state` is None for an invoice or a
        refund: they change nothing in it.

    .. versionadded:: 1.0
    """
    try:
        event = read_event(payload)
    except PayloadError as error:
        return Signals(skipped=[Skipped("", str(error))])
    event_type, data = event.text("type") or "", event.object("data", "object")
    event_id, at = get_origin(event)
    read = _READERS.get(event_type)
    if read is None or event_id is None or at is None or not data.to_dict():
        return Signals(skipped=[Skipped(event_type, _describe_other(event, event_type))])
    key = _get_key(event_type, data)
    history = History(previous, None if key is None else f"stripe:{key}", event_id, at)
    is_test = event.boolean("livemode") is False
    found = Collector(
        Source("stripe", event_id, event_type, at, is_test),
        history,
        UserFields(_get_users(event_type, data, user_key), user_of, _get_customer(data)),
    )
    before = event.object("data", "previous_attributes")
    return read(Webhook(event_type, data, before, history, found))


def get_origin(event: Fields) -> tuple[str | None, datetime | None]:
    """Return the id of an event and when it happened. The import sorts by them."""
    return event.text("id"), event.seconds("created")


def _describe_other(event: Fields, event_type: str) -> str:
    """Return why a payload is no event that this module reads."""
    if event_type.startswith("v2.") or event.text("object") == "v2.core.event":
        return "a thin event, which has no object: send snapshot events to this webhook"
    if not event_type:
        return "no type: pass the body of a webhook of Stripe unchanged"
    if event_type in _READERS:
        return "an event without id, created or data.object: pass the whole event"
    return _REASONS.get(event_type, f"{event_type} is no change of a subscription")


def _get_key(event_type: str, data: Fields) -> str | None:
    if event_type.startswith("customer.subscription."):
        return data.text("id")
    if event_type.startswith("invoice."):
        return get_subscription(data)
    return get_id(data, "subscription")


def _get_customer(data: Fields) -> str | None:
    """Return the id for `user_of`; older versions of a refund have no customer."""
    customer = get_id(data, "customer")
    return customer or get_id(data, "charge") or get_id(data, "payment_intent")


def _get_users(event_type: str, data: Fields, key: str) -> dict[str, object]:
    """Return the fields that may have the user.

    An invoice has a copy of the metadata of its subscription, in a place that depends on the
    version; before June 2023 in its lines alone ("The Invoice Line Item object", `metadata`).
    """
    users: dict[str, object] = {}
    if event_type.startswith("invoice."):
        named = f"subscription_details.metadata.{key}"
        at_parent = data.value("parent", "subscription_details", "metadata", key)
        lines = [line.value("metadata", key) for line in data.objects("lines", "data")]
        old = data.value("subscription_details", "metadata", key)
        users[named] = at_parent or old or next((one for one in lines if one), None)
    users[f"metadata.{key}"] = data.value("metadata", key)
    users[f"customer.metadata.{key}"] = data.value("customer", "metadata", key)
    if event_type.startswith("checkout."):
        users["client_reference_id"] = data.value("client_reference_id")
    return users


_READERS: dict[str, Callable[[Webhook], Signals]] = {
    "customer.subscription.created": read_subscription,
    "customer.subscription.updated": read_subscription,
    "customer.subscription.deleted": read_subscription,
    "invoice.paid": read_invoice,
    "invoice.payment_failed": read_invoice,
    "refund.created": read_refund,
    "refund.updated": read_refund,
    "checkout.session.completed": read_checkout,
}
