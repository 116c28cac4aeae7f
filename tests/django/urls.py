"""The pages of the site: two that do what a test says, and some for real servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth import aauthenticate, alogin, authenticate, login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path

if TYPE_CHECKING:
    from collections.abc import Callable

    from whisperr.django import WhisperrRequest


class Stage:
    """What the two pages do; a test sets it."""

    view: Callable[[Any], Any]


def sync_page(request: HttpRequest) -> HttpResponseBase:
    answer = Stage.view(request)
    return answer if isinstance(answer, HttpResponseBase) else HttpResponse(str(answer))


async def async_page(request: HttpRequest) -> HttpResponseBase:
    answer = await Stage.view(request)
    return answer if isinstance(answer, HttpResponseBase) else HttpResponse(str(answer))


def served_login(request: HttpRequest) -> HttpResponse:
    user = authenticate(request, username=request.GET["name"], password="secret")
    assert user is not None
    login(request, user)
    return HttpResponse(str(user.pk))


def served_track(request: WhisperrRequest) -> HttpResponse:
    return HttpResponse(request.whisperr.track("plan_upgraded", {"n": int(request.GET["n"])}))


async def served_alogin(request: HttpRequest) -> HttpResponse:
    user = await aauthenticate(request, username=request.GET["name"], password="secret")
    assert user is not None
    await alogin(request, user)
    return HttpResponse(str(user.pk))


async def served_atrack(request: WhisperrRequest) -> HttpResponse:
    return HttpResponse(request.whisperr.track("plan_upgraded", {"n": int(request.GET["n"])}))


urlpatterns = [
    path("admin/", admin.site.urls),
    path("sync/", sync_page),
    path("async/", async_page),
    path("login/", served_login),
    path("track/", served_track),
    path("alogin/", served_alogin),
    path("atrack/", served_atrack),
]
