"""Pages of Django REST framework that authenticate when their user is read."""

from __future__ import annotations

from typing import Any

from django.urls import path
from rest_framework.authentication import SessionAuthentication
from rest_framework.response import Response
from rest_framework.views import APIView

from tests.django.test_rest import ByName


class Lazy(APIView):  # type: ignore[misc]  # untyped, see pyproject.toml
    """Authenticates when `request.user` is read, as the documentation of the framework says."""

    authentication_classes = (ByName,)
    permission_classes = ()

    def perform_authentication(self, request: Any) -> None:
        """Do it later."""

    def get(self, request: Any) -> Response:
        if "read" in request.GET:
            _ = request.user
        return Response({"id": request.whisperr.track("plan_upgraded")})


class LazySession(Lazy):
    authentication_classes = (SessionAuthentication,)


urlpatterns = [
    path("lazy/", Lazy.as_view()),
    path("lazy-session/", LazySession.as_view()),
]
