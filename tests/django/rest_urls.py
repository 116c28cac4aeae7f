"""Pages of Django REST framework, whose authentication runs in the view."""

from __future__ import annotations

from typing import Any

from django.urls import path
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.decorators import api_view, authentication_classes, permission_classes
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import AllowAny, IsAdminUser, IsAuthenticated
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView, exception_handler
from rest_framework.viewsets import ViewSet


class ByName(BaseAuthentication):  # type: ignore[misc]  # untyped, see pyproject.toml
    """Authenticates by a header, as a token would."""

    def authenticate(self, request: Any) -> Any:
        from django.contrib.auth.models import User

        name = request.headers.get("X-Name")
        if name is None:
            return None
        user = User.objects.filter(username=name).first()
        if user is None:
            raise AuthenticationFailed
        return user, f"token of {name}"


class Upgrade(APIView):  # type: ignore[misc]  # likewise
    authentication_classes = (ByName, SessionAuthentication)
    permission_classes = (AllowAny,)

    def get(self, request: Any) -> Response:
        return Response({"id": request.whisperr.track("plan_upgraded")})

    def get_exception_handler(self) -> Any:
        """Return what the setting EXCEPTION_HANDLER may name."""
        return track_refusal


def track_refusal(error: Exception, context: Any) -> Any:
    context["request"].whisperr.track("api_request_refused", {"error": type(error).__name__})
    return exception_handler(error, context)


class Atomic(Upgrade):
    """Tracks after the framework has marked the transaction of the request for a rollback."""

    permission_classes = (IsAdminUser,)

    def handle_exception(self, exc: Exception) -> Any:
        response = super().handle_exception(exc)
        self.request.whisperr.track("plan_upgraded")
        return response


class Lazy(APIView):  # type: ignore[misc]  # likewise
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


class Admin(Upgrade):
    permission_classes = (IsAdminUser,)


class Always(BaseThrottle):  # type: ignore[misc]  # likewise
    def allow_request(self, request: Any, view: Any) -> bool:
        return False


class Throttled(Upgrade):
    throttle_classes = (Always,)


class Plans(ViewSet):  # type: ignore[misc]  # likewise
    authentication_classes = (ByName,)
    permission_classes = (IsAuthenticated,)

    def list(self, request: Any) -> Response:
        return Response({"id": request.whisperr.track("plan_upgraded")})


@api_view(["GET"])
@authentication_classes([ByName])
@permission_classes([IsAuthenticated])
def upgrade(request: Any) -> Response:
    return Response({"id": request.whisperr.track("plan_upgraded")})


urlpatterns = [
    path("class/", Upgrade.as_view()),
    path("function/", upgrade),
    path("set/", Plans.as_view({"get": "list"})),
    path("lazy/", Lazy.as_view()),
    path("lazy-session/", LazySession.as_view()),
    path("admin/", Admin.as_view()),
    path("throttled/", Throttled.as_view()),
    path("atomic/", Atomic.as_view()),
]
