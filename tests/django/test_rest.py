"""Views of Django REST framework, which has a request of its own and finds its own user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from tests.django.site import Site


class ByName(BaseAuthentication):  # type: ignore[misc]  # untyped, see pyproject.toml
    """Authenticates by a header, as a token would."""

    def authenticate(self, request: Any) -> Any:
        from django.contrib.auth.models import User

        name = request.headers.get("X-Name")
        return (User.objects.get(username=name), None) if name else None


class Upgrade(APIView):  # type: ignore[misc]  # likewise
    authentication_classes = (ByName, SessionAuthentication)
    permission_classes = (AllowAny,)

    def get(self, request: Any) -> Response:
        return Response({"id": request.whisperr.track("plan_upgraded")})


@pytest.mark.parametrize("session", [False, True])
def test_the_user_that_the_view_found_counts(
    site: Site, ada: User, bob: User, session: bool
) -> None:
    response = site.get(Upgrade.as_view(), ada if session else None, headers={"X-Name": "bob"})
    assert response.status_code == 200
    assert site.sent() == [(str(bob.pk), "plan_upgraded")]


def test_the_session_counts_where_the_view_uses_it(site: Site, ada: User) -> None:
    site.get(Upgrade.as_view(), ada)
    site.get(Upgrade.as_view())
    assert site.sent() == [(str(ada.pk), "plan_upgraded")]
