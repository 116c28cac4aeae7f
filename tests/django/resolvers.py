"""Functions that WHISPERR_RESOLVE_USER names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import SynchronousOnlyOperation

if TYPE_CHECKING:
    from django.http import HttpRequest

calls: list[str] = []


def by_header(request: HttpRequest) -> str | None:
    return request.headers.get("X-Account")


async def later(request: HttpRequest) -> str | None:
    user = await request.auser()
    return f"later_{user.pk}" if user.is_authenticated else None


def blocking(request: HttpRequest) -> str | None:
    return f"blocking_{request.user.pk}" if request.user.is_authenticated else None


def by_claims(request: Any) -> str | None:
    """Return the user that the claims of a token name, as a security class of django-ninja may."""
    return str(request.auth["sub"])


def forgiving(request: HttpRequest) -> str | None:
    """Take every failure for a visitor that is not known, as a broad `except` does."""
    calls.append("forgiving")
    try:
        return f"forgiving_{request.user.pk or 'unknown'}"
    except Exception:  # noqa: BLE001  # what the tests need it for
        return None


def in_disguise(request: HttpRequest) -> Any:
    """Return something to await, which the function does not look like."""
    return later(request)


def broken(request: HttpRequest) -> str | None:
    raise KeyError("a secret")


def confused(request: HttpRequest) -> str | None:
    raise SynchronousOnlyOperation


async def broken_later(request: HttpRequest) -> str | None:
    raise KeyError("a secret")


NOT_A_FUNCTION = 7
