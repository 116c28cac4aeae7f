"""The pages of the site: two that call the view of a test, and some for real servers."""

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


class CurrentView:
    """What the two pages call; a test sets it."""

    view: Callable[[Any], Any]


def sync_page(request: HttpRequest) -> HttpResponseBase:
    response = CurrentView.view(request)
    return response if isinstance(response, HttpResponseBase) else HttpResponse(str(response))


async def async_page(request: HttpRequest) -> HttpResponseBase:
    response = await CurrentView.view(request)
    return response if isinstance(response, HttpResponseBase) else HttpResponse(str(response))


def server_login(request: HttpRequest) -> HttpResponse:
    user = authenticate(request, username=request.GET["name"], password="secret")
    assert user is not None
    login(request, user)
    return HttpResponse(str(user.pk))


def server_track(request: WhisperrRequest) -> HttpResponse:
    return HttpResponse(request.whisperr.track("plan_upgraded", {"n": int(request.GET["n"])}))


async def server_alogin(request: HttpRequest) -> HttpResponse:
    user = await aauthenticate(request, username=request.GET["name"], password="secret")
    assert user is not None
    await alogin(request, user)
    return HttpResponse(str(user.pk))


async def server_atrack(request: WhisperrRequest) -> HttpResponse:
    return HttpResponse(request.whisperr.track("plan_upgraded", {"n": int(request.GET["n"])}))


urlpatterns = [
    path("admin/", admin.site.urls),
    path("sync/", sync_page),
    path("async/", async_page),
    path("login/", server_login),
    path("track/", server_track),
    path("alogin/", server_alogin),
    path("atrack/", server_atrack),
]
