"""System checks, which report wrong settings, each with an id and a hint."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.checks import Error
from django.core.checks import Warning as Caution
from django.core.exceptions import ImproperlyConfigured
from django.db.models import IntegerField
from django.urls import get_resolver as get_url_resolver

from whisperr._address import LOOPBACK, parse_url
from whisperr._integrations.client import API_KEY
from whisperr._options import FLAGS_OF_ENVIRONMENT, OUTBOX, get_base_url, get_flag
from whisperr._secret import Secret, hide_password

from ._webhooks import get_stripe_secrets, import_stripe, stripe_webhook
from .conf import (
    DISABLED,
    RESOLVE_USER,
    SETTINGS,
    STRIPE_SECRET,
    USER_OF,
    get_key,
    get_resolver,
    get_user_function,
    is_disabled,
)
from .outbox.buffer import APP, OutboxBuffer, alias_problem, app_problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from django.core.checks import CheckMessage

    from whisperr._options import Option

_OURS = "whisperr.django.WhisperrMiddleware"
_AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"


def check_settings(**_: Any) -> list[CheckMessage]:  # noqa: ANN401  # what Django passes to checks
    """Return everything that is wrong with the settings."""
    return [*_key(), *_values(), *_billing(), *_unknown(), *_middleware(), *_tenants()]


def check_app(**_: Any) -> list[CheckMessage]:  # noqa: ANN401  # likewise
    """Report an outbox whose app is not installed; registered without the app, too."""
    problem = app_problem() if _has_outbox() else None
    if problem is None:
        return []
    hint = f'Add "{APP}" to INSTALLED_APPS, then run manage.py migrate.'
    return [Error(f"{problem}.", hint=hint, id="whisperr.E004")]


def _has_outbox() -> bool:
    value = getattr(settings, "WHISPERR_BUFFER", None) or os.environ.get("WHISPERR_BUFFER")
    return value == OUTBOX or isinstance(value, OutboxBuffer)


def _key() -> Iterator[CheckMessage]:
    key = get_key()
    is_off = _is_disabled()
    if key.is_missing and not is_off:
        yield Caution(
            f"{API_KEY} is not set: a server does not start, and commands send nothing.",
            hint=f"Set {API_KEY} in the environment or in the settings to a server key (wrk_...) "
            f"from the Whisperr dashboard, or set {DISABLED} = True to send nothing. Ignore this "
            "in a build that has no key.",
            id="whisperr.W010",
        )
    elif key.problem is not None and not is_off:
        yield Error(
            f"{API_KEY}: {key.problem}.",
            hint=f"Set {API_KEY} to a server key (wrk_...) from the Whisperr dashboard, "
            f"or set {DISABLED} = True to send nothing.",
            id="whisperr.E001",
        )
    elif key.is_publishable:
        yield Caution(
            f"{API_KEY} is a publishable key (wpk_...), made for apps and browsers: with it, the "
            "server opts in no user.",
            hint="Use a server key (wrk_...) in a backend.",
            id="whisperr.W001",
        )


def _is_disabled() -> bool:
    """Return whether the client is disabled; False for a wrong value, which `_values` reports."""
    try:
        return is_disabled(SETTINGS.read().get("disabled"))
    except ImproperlyConfigured:
        return False


def _values() -> Iterator[CheckMessage]:
    try:
        get_resolver()
    except ImproperlyConfigured as error:
        yield Error(
            f"{error}.",
            hint=f"{RESOLVE_USER} is the dotted path of a function that takes a request and "
            "returns the user's id as a string, or None.",
            id="whisperr.E002",
        )
    for option in SETTINGS.find_set():
        try:
            SETTINGS.read_option(option)
        except ImproperlyConfigured as error:  # noqa: PERF203  # each is reported
            yield Error(f"{error}.", hint=_get_hint(option), id="whisperr.E003")
    for name in FLAGS_OF_ENVIRONMENT:
        try:
            get_flag(name)
        except ValueError as error:  # noqa: PERF203  # likewise
            yield Error(f"{error}.", hint="Correct the environment.", id="whisperr.E003")
    problem = alias_problem()
    if problem is not None:
        yield Error(f"{problem}.", hint="Name one of DATABASES, or remove it.", id="whisperr.E005")
    given = getattr(settings, "WHISPERR_BASE_URL", None)
    parts = parse_url(get_base_url(given if isinstance(given, str) else None))
    if parts is not None and parts[0] == "http" and parts[1] not in LOOPBACK:
        text = f"WHISPERR_BASE_URL: http:// sends the key to {parts[1]} unencrypted."
        yield Caution(text, hint="Use https://.", id="whisperr.W002")
    if isinstance(hide_password(getattr(settings, "WHISPERR_BUFFER", None)), Secret):
        yield Caution(
            "WHISPERR_BUFFER is a URL with a password, which the debug page of Django shows.",
            hint="Set it to whisperr.buffers.RedisBuffer(URL), which shows no password.",
            id="whisperr.W009",
        )


def _billing() -> Iterator[CheckMessage]:
    try:
        get_user_function()
    except ImproperlyConfigured as error:
        yield Error(
            f"{error}.",
            hint=f"{USER_OF} is the dotted path of a function that takes the provider's id of a "
            "customer and returns the user's id, or None.",
            id="whisperr.E006",
        )
    if not _has_view(stripe_webhook):
        return
    try:
        import_stripe()
        secrets = get_stripe_secrets()
    except ImproperlyConfigured as error:
        hint = (
            f"Install stripe, and set {STRIPE_SECRET} to the secret that Stripe's dashboard shows."
        )
        yield Error(f"{error}.", hint=hint, id="whisperr.E007")
    else:
        if not secrets:
            yield Caution(
                f"{STRIPE_SECRET} is not set: stripe_webhook answers every webhook with an error.",
                hint="Set it, in the environment or in the settings, to the signing secret of the "
                "endpoint (whsec_...). Ignore this in a build that has no secrets.",
                id="whisperr.W011",
            )


def _has_view(view: object, patterns: Iterable[object] | None = None) -> bool:
    """Return whether the URLs of the project have a view; without patterns, all are searched."""
    if patterns is None:
        root = getattr(settings, "ROOT_URLCONF", None)
        patterns = get_url_resolver().url_patterns if root else ()
    return any(
        getattr(one, "callback", None) is view or _has_view(view, getattr(one, "url_patterns", ()))
        for one in patterns
    )


def _get_hint(option: Option) -> str:
    """Return what to set an option to; for its default, to remove it."""
    name = f"WHISPERR_{option.name.upper()}"
    value = getattr(settings, name, None)
    if option.name == "buffer" and isinstance(value, str) and get_close_matches(value, [OUTBOX]):
        return f"Did you mean {OUTBOX!r}?"
    return f"Correct {name}, or remove it to use the default."


def _unknown() -> Iterator[CheckMessage]:
    for name, near in SETTINGS.find_unknown(sorted(dir(settings))):
        text = f"{name} is not a setting of whisperr and does nothing."
        hint = f"Did you mean {near}?" if near else "Remove it."
        yield Caution(text, hint=hint, id="whisperr.W003")


def _middleware() -> Iterator[CheckMessage]:
    chain = list(settings.MIDDLEWARE)
    if _OURS not in chain:
        yield Caution(
            f"{_OURS} is not in MIDDLEWARE: there is no request.whisperr.",
            hint="Add it after AuthenticationMiddleware, or silence this check if you use only "
            "get_client().",
            id="whisperr.W004",
        )
    elif _AUTHENTICATION in chain and chain.index(_OURS) < chain.index(_AUTHENTICATION):
        yield Caution(
            f"{_OURS} is before AuthenticationMiddleware: in async views, the user is not "
            "available there.",
            hint="Move it after AuthenticationMiddleware.",
            id="whisperr.W005",
        )
    elif _AUTHENTICATION not in chain and not _has_resolver():
        yield Caution(
            "No AuthenticationMiddleware and no WHISPERR_RESOLVE_USER: request.whisperr cannot "
            "know the user.",
            hint="Add one of the two. If another middleware or your views find the user, as those "
            "of Django REST framework and django-ninja do, silence this check.",
            id="whisperr.W006",
        )


def _tenants() -> Iterator[CheckMessage]:
    """Report what django-tenants keeps for each tenant: tables of one name in many schemas."""
    own = set(_get_tenant_apps())
    if _has_outbox() and own & _get_names("whisperr"):
        yield Caution(
            f"{APP} is an app of each tenant, so its outbox is in the schema of the tenant, where "
            "no relay finds events.",
            hint=f'Move "{APP}" to SHARED_APPS only.',
            id="whisperr.W007",
        )
    label = settings.AUTH_USER_MODEL.partition(".")[0]
    if not _has_resolver() and own & _get_names(label) and _are_users_counted():
        yield Caution(
            "Each tenant numbers its users from 1, so users of different tenants have the same id "
            "and are one user for whisperr.",
            hint=f"Set {RESOLVE_USER} to a function that returns an id with the tenant in it.",
            id="whisperr.W008",
        )


def _has_resolver() -> bool:
    return bool(getattr(settings, RESOLVE_USER, None))


def _are_users_counted() -> bool:
    return isinstance(get_user_model()._meta.pk, IntegerField)  # noqa: SLF001  # documented by Django


def _get_tenant_apps() -> Iterator[str]:
    """Yield the apps that are installed in the schema of every tenant, or of some tenants."""
    yield from getattr(settings, "TENANT_APPS", ())
    public = getattr(settings, "PUBLIC_SCHEMA_NAME", "public")
    for name, kind in getattr(settings, "TENANT_TYPES", {}).items():
        yield from kind.get("APPS", ()) if name != public else ()


def _get_names(label: str) -> set[str]:
    """Return the names that an app may have in a setting: its own and its AppConfig's."""
    try:
        config = apps.get_app_config(label)
    except LookupError:
        return set()
    return {config.name, f"{type(config).__module__}.{type(config).__name__}"}
