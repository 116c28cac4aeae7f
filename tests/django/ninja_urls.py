"""Pages of django-ninja, which finds its users itself and puts them into `request.auth`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.urls import path
from ninja import NinjaAPI
from ninja.security import HttpBearer, django_auth

if TYPE_CHECKING:
    from django.http import HttpRequest


class Bearer(HttpBearer):
    def authenticate(self, request: HttpRequest, token: str) -> Any:
        from django.contrib.auth.models import User

        return User.objects.get(username=token)


api = NinjaAPI(urls_namespace="tests")


@api.get("/token", auth=Bearer())
def token(request: Any) -> dict[str, str | None]:
    return {"id": request.whisperr.track("plan_upgraded")}


@api.get("/session", auth=django_auth)
def session(request: Any) -> dict[str, str | None]:
    return {"id": request.whisperr.track("plan_upgraded")}


@api.get("/later", auth=Bearer())
async def later(request: Any) -> dict[str, str | None]:
    return {"id": request.whisperr.track("plan_upgraded")}


urlpatterns = [path("api/", api.urls)]
