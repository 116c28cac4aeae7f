"""A project of Django in one module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpResponse
from django.urls import path

from tests.hosts.trials.apps.waiting import Whisperr

if TYPE_CHECKING:
    from django.http import HttpRequest

SECRET_KEY = "of a trial"  # and of nothing else
ROOT_URLCONF = "shop"
ALLOWED_HOSTS = ["127.0.0.1"]
whisperr = Whisperr()


def pay(request: HttpRequest) -> HttpResponse:
    whisperr.track("user_8842", "payment_failed")
    return HttpResponse("thank you")


urlpatterns = [path("", pay)]
# The page's lines stand here.
