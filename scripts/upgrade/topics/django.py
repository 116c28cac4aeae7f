"""The integration for Django."""

from scripts.upgrade.looks import show_types
from scripts.upgrade.program import Program, Topic


def _site(settings: str, rest: str) -> str:
    """Return a program with a Django project in one file: settings, one view, a test client."""
    return f"""
import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import path

def view(request):
    request.whisperr.track("feature_used")
    return HttpResponse(request.whisperr.user_id)

def plain(request):
    return HttpResponse("ok")

urlpatterns = [path("", view), path("plain", plain)]

class User:
    pk = 8842
    is_authenticated = True

def sign_in(get_response):
    def middleware(request):
        request.user = User()
        return get_response(request)
    return middleware

def resolve(request):
    return request.headers.get("X-User")

given = dict(
    WHISPERR_API_KEY="wrk_test",
    WHISPERR_BASE_URL=URL,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="__main__",
    SECRET_KEY="for-this-program-only",
    MIDDLEWARE=["__main__.sign_in", "whisperr.django.WhisperrMiddleware"],
)
given.update({settings})
settings.configure(**{{name: value for name, value in given.items() if value is not ...}})
django.setup()
from django.test import Client
from whisperr.django import get_client
{rest}
get_client().flush()
"""


_WITH_SESSIONS = """{
    "INSTALLED_APPS": [
        "django.contrib.sessions", "django.contrib.contenttypes", "django.contrib.auth"
    ],
    "SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies",
    "MIDDLEWARE": [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "whisperr.django.WhisperrMiddleware",
    ],
}"""
_VISIT = "print(Client().get('/').content.decode())"

DJANGO = Topic(
    "Django",
    "The settings and `request.whisperr` of 0.2.1 still work. Every option now has a setting: see "
    "[Django](../frameworks/django.md).",
    (
        Program(
            "`request.whisperr.track('feature_used')` and `request.whisperr.user_id`",
            _site("{}", _VISIT),
            look=show_types,
            django=True,
        ),
        Program(
            "`WHISPERR_RESOLVE_USER`",
            _site(
                "{'WHISPERR_RESOLVE_USER': '__main__.resolve'}",
                "print(Client().get('/', headers={'X-User': 'user_7'}).content.decode())",
            ),
            look=show_types,
            django=True,
        ),
        Program(
            "no user",
            _site(
                "{'WHISPERR_RESOLVE_USER': '__main__.resolve'}",
                "print(Client().get('/').status_code)",
            ),
            "Not counted, not reported; `debug` says so.",
            look=show_types,
            django=True,
        ),
        Program(
            "`WHISPERR_API_KEY` is missing",
            _site("{'WHISPERR_API_KEY': ...}", "print(Client().get('/plain').status_code)"),
            "A server does not start. Commands such as `migrate` and `check` run.",
            django=True,
        ),
        Program(
            "`WHISPERR_DISABLED = 'false'`",
            _site("{'WHISPERR_DISABLED': 'false'}", "print(get_client().ready)"),
            "In 0.2.1 every text except the empty one meant true.",
            django=True,
        ),
        Program(
            "`mock.patch('whisperr.client.Whisperr')` in a test",
            """
            from unittest import mock
            with mock.patch('whisperr.client.Whisperr'):
                print('patched')
            """,
            "Patch it where it is used. Better, record the events: "
            "[testing](../develop/testing.md).",
        ),
        Program(
            "`WHISPERR_FLUSH_AT = '5'`",
            _site("{'WHISPERR_FLUSH_AT': '5'}", "print('started')"),
            "0.2.1 had no such setting; text from the environment is read as a number.",
            django=True,
        ),
        Program(
            "a view that does not use `request.whisperr`: `Vary` with Django's own sessions",
            _site(
                _WITH_SESSIONS,
                "print(Client().get('/plain').headers.get('Vary', 'no Vary'))",
            ),
            "0.2.1 read the session in every request, so no page could be cached.",
            django=True,
        ),
        Program(
            "an async view",
            _site(
                "{}",
                "from django.test import AsyncClient\nimport asyncio\n"
                "print(asyncio.run(AsyncClient().get('/')).status_code)",
            ),
            look=show_types,
            django=True,
        ),
    ),
)
