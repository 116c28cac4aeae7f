"""Functions that WHISPERR_RESOLVE_USER names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import SynchronousOnlyOperation

if TYPE_CHECKING:
    from django.http import HttpRequest


def by_header(request: HttpRequest) -> str | None:
    return request.headers.get("X-Account")


async def later(request: HttpRequest) -> str | None:
    user = await request.auser()
    return f"later_{user.pk}" if user.is_authenticated else None


def blocking(request: HttpRequest) -> str | None:
    return f"blocking_{request.user.pk}" if request.user.is_authenticated else None


def broken(request: HttpRequest) -> str | None:
    raise KeyError("a secret")


def confused(request: HttpRequest) -> str | None:
    raise SynchronousOnlyOperation


async def broken_later(request: HttpRequest) -> str | None:
    raise KeyError("a secret")


NOT_A_FUNCTION = 7
