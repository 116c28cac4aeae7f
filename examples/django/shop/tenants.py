"""The tenant of a request: `acme` of http://acme.localhost:8000/."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.utils.decorators import sync_and_async_middleware

from whisperr import scope

DOMAIN = "localhost"


def tenant_scope(request: HttpRequest) -> AbstractContextManager[None]:
    """Return a scope of the tenant, for its subdomain; nothing for another host."""
    tenant, _, domain = request.get_host().partition(":")[0].partition(".")
    return scope(tenant=tenant) if domain == DOMAIN else nullcontext()


@sync_and_async_middleware
def add_tenant(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Give the tenant to each event of a request; async in an async chain, as Django wants it."""
    if iscoroutinefunction(get_response):

        async def add_in_async(request: HttpRequest) -> Any:
            with tenant_scope(request):
                return await get_response(request)

        return add_in_async

    def add_in_sync(request: HttpRequest) -> Any:
        with tenant_scope(request):
            return get_response(request)

    return add_in_sync
