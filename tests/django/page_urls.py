"""The address that the test of the guide page posts to."""

from __future__ import annotations

from django.urls import path

from tests.django.urls import sync_page

urlpatterns = [path("upgrade/", sync_page)]
