"""Case 8: what a middleware costs a Django request that tracks nothing, or one event."""

from __future__ import annotations

import importlib.util
import io
import sys
import time
from statistics import median
from types import ModuleType
from typing import TYPE_CHECKING

from benchmarks.case import PLAIN, Case, Figure, Row, Variant
from benchmarks.event import NAME, USER, make_properties
from benchmarks.latency import flush_within, get_percentiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from benchmarks.client import Adapter

REQUESTS = 2_000
_BLOCK = 100
BARE = "no middleware"
OURS_IDLE = "whisperr, nothing tracked"
OURS_ONCE = "whisperr, one event"
THEIRS_IDLE = "PostHog, nothing captured"
THEIRS_ONCE = "PostHog, one event"
_ROWS = {"whisperr_now": (BARE, OURS_IDLE, OURS_ONCE), "posthog": (THEIRS_IDLE, THEIRS_ONCE)}
_MIDDLEWARE = {
    OURS_IDLE: "whisperr.django.WhisperrMiddleware",
    OURS_ONCE: "whisperr.django.WhisperrMiddleware",
    THEIRS_IDLE: "posthog.integrations.django.PosthogContextMiddleware",
    THEIRS_ONCE: "posthog.integrations.django.PosthogContextMiddleware",
}


def measure(_adapter: Adapter, url: str, given: dict[str, Any]) -> dict[str, Any]:
    """Call two WSGI applications in turn in this process, one with the middleware and one without.

    On a shared machine, the speed of two processes differs by more than what is measured here.
    """
    row, blocks = given["row"], given["requests"] // _BLOCK
    if row in {OURS_IDLE, OURS_ONCE} and importlib.util.find_spec("whisperr.django") is None:
        return {"unavailable": "whisperr.django is not in this checkout"}
    numbers = iter(range((blocks + 1) * _BLOCK))
    bare, ask, flush = _applications(row, url, numbers)
    _time_requests(bare), _time_requests(ask)  # work of the first request
    times, extras = [], []
    for _ in range(blocks):
        without, with_it = _time_requests(bare), _time_requests(ask)
        times += with_it
        extras.append((median(with_it) - median(without)) / 1000)
    flush_within(flush, 60.0)
    tracked = row in {OURS_ONCE, THEIRS_ONCE}
    return {
        **get_percentiles(times),
        "extra": median(extras),
        "expected": (blocks + 1) * _BLOCK if tracked else 0,
    }


def _time_requests(ask: Callable[[], None]) -> list[int]:
    """Return the nanoseconds of each request of a block."""
    times = []
    for _ in range(_BLOCK):
        began = time.perf_counter_ns()
        ask()
        times.append(time.perf_counter_ns() - began)
    return times


def _applications(
    row: str,
    url: str,
    numbers: Any,  # noqa: ANN401  # an iterator
) -> tuple[Callable[[], None], Callable[[], None], Any]:
    """Make the application without the middleware, that of a row, and what to flush."""
    from django.conf import settings

    urls = ModuleType("benchmark_urls")
    sys.modules["benchmark_urls"] = urls
    middleware = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    ours = row in {OURS_IDLE, OURS_ONCE}
    settings.configure(
        SECRET_KEY="of the benchmark",  # noqa: S106  # it signs nothing
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="benchmark_urls",
        USE_TZ=True,
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            *(["whisperr.django"] if ours else []),
        ],
        MIDDLEWARE=middleware,
        WHISPERR_API_KEY="wrk_bench",
        WHISPERR_BASE_URL=url,
        WHISPERR_RESOLVE_USER="benchmarks.cases.django.get_user",
    )
    import django
    from django.urls import path

    django.setup()
    view, flush = _view(row, url, numbers)
    urls.urlpatterns = [path("", view), path("bare", _plain)]  # type: ignore[attr-defined]  # made here
    bare = _make_caller("/bare")
    settings.MIDDLEWARE = middleware + ([_MIDDLEWARE[row]] if row in _MIDDLEWARE else [])
    return bare, _make_caller("/"), flush


def _view(row: str, url: str, numbers: Any) -> tuple[Any, Any]:  # noqa: ANN401  # Django's types are not here
    from django.http import HttpResponse

    from benchmarks.client import Client

    if row == OURS_ONCE:
        from whisperr.django import get_client

        def track(request: Any) -> Any:  # noqa: ANN401  # likewise
            request.whisperr.track(NAME, make_properties(next(numbers)))
            return HttpResponse("ok")

        return track, Client(_nothing, get_client().flush)
    if row == THEIRS_ONCE:
        import posthog

        posthog.project_api_key, posthog.host = "phc_bench", url

        def capture(_request: Any) -> Any:  # noqa: ANN401  # likewise
            posthog.capture(NAME, distinct_id=USER, properties=make_properties(next(numbers)))
            return HttpResponse("ok")

        return capture, Client(_nothing, posthog.flush)
    return _plain, Client(_nothing, lambda: None)


def _plain(_request: object) -> Any:  # noqa: ANN401  # likewise
    from django.http import HttpResponse

    return HttpResponse("ok")


def get_user(_request: object) -> str:
    """Return the user, as the resolver of an application does; there is no login here."""
    return USER


def _nothing(_properties: dict[str, object]) -> None:
    return None


def _make_caller(path: str) -> Callable[[], None]:
    from django.core.wsgi import get_wsgi_application

    application = get_wsgi_application()
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
    }

    def ask() -> None:
        answer = application(
            {**environ, "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr}, _began
        )
        assert b"".join(answer) == b"ok"
        answer.close()

    return ask


def _began(status: str, _headers: object, _error: object = None, /) -> Callable[[bytes], object]:
    assert status == "200 OK"
    return bytes  # the old way to write, which is unused


CASE = Case(
    title="A Django request",
    about=(
        "One request after the other through the WSGI application, within one process, with "
        "sessions and authentication installed. Blocks of 100 requests with and without the "
        "middleware take turns; the extra time is the median of their differences."
    ),
    figures=(
        Figure("extra", "extra time, median", "µs", PLAIN),  # no ratio to 0
        Figure("p50", "p50", "µs", digits=0),
        Figure("p99", "p99", "µs", digits=0),
        Figure("max", "maximum", "µs", digits=0),
    ),
    full={"": Variant({"requests": REQUESTS})},
    quick={"": Variant({"requests": 500})},
    rows=tuple(
        Row(name, "django", adapter, compared=adapter == "whisperr_now" and name != BARE)
        for adapter, names in _ROWS.items()
        for name in names
    ),
    baseline=BARE,
    rounds=3,
)
