"""Pages of django-ninja, which finds its users itself and puts them into `request.auth`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.contrib.auth import login, logout
from django.http import HttpResponse
from django.urls import path
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, Throttled
from ninja.security import HttpBearer, django_auth
from ninja.throttling import BaseThrottle

if TYPE_CHECKING:
    from django.http import HttpRequest


def get_user(name: str) -> Any:
    from django.contrib.auth.models import User

    return User.objects.filter(username=name).first()


class Bearer(HttpBearer):
    """Returns the user whose name is the token; without such a user the answer is 401."""

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        return get_user(token)


class AsyncBearer(HttpBearer):
    async def authenticate(self, request: HttpRequest, token: str) -> Any:
        return await sync_to_async(get_user)(token)


class Claims(HttpBearer):
    """Returns what a token says, as one without a table of users."""

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        return {"sub": token}


class SettingBearer(HttpBearer):
    """Sets `request.user`, too, as packages for JSON Web Tokens do."""

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        request.user = get_user(token)
        return request.user


class Always(BaseThrottle):
    def allow_request(self, request: HttpRequest) -> bool:
        return False

    def wait(self) -> float:
        return 1.0


api = NinjaAPI(urls_namespace="tests")


def track(request: Any) -> dict[str, str | None]:
    return {"id": request.whisperr.track("plan_upgraded")}


async def track_later(request: Any) -> dict[str, str | None]:
    return {"id": request.whisperr.track("plan_upgraded")}


async def atrack(request: Any) -> dict[str, str | None]:
    return {"id": await request.whisperr.atrack("plan_upgraded")}


def log_in(request: Any, name: str) -> dict[str, str | None]:
    login(request, get_user(name))
    return track(request)


def log_out(request: Any) -> dict[str, str | None]:
    logout(request)
    return track(request)


def forbid(request: Any) -> None:
    raise PermissionError


for name, auth in {
    "token": Bearer(),
    "claims": Claims(),
    "setting": SettingBearer(),
    "session": django_auth,
}.items():
    api.get(f"/{name}", auth=auth)(track)
    api.get(f"/{name}/later", auth=auth)(track_later)
    api.get(f"/{name}/atrack", auth=auth)(atrack)
api.get("/async-token/later", auth=AsyncBearer())(track_later)
api.get("/token/login", auth=Bearer())(log_in)
api.get("/token/logout", auth=Bearer())(log_out)
api.get("/token/forbidden", auth=Bearer())(forbid)
api.get("/token/throttled", auth=Bearer(), throttle=Always())(track)


@api.exception_handler(PermissionError)
@api.exception_handler(Throttled)
@api.exception_handler(AuthenticationError)
def refuse(request: Any, error: Exception) -> HttpResponse:
    request.whisperr.track("api_request_refused", {"error": type(error).__name__})
    return HttpResponse(status=403)


urlpatterns = [path("api/", api.urls)]
