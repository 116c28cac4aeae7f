"""A FastAPI application with many tenants: typed events, a scope for each request, and metrics.

    pip install 'whisperr[fastapi,prometheus]' uvicorn
    whisperr dev                                     # in one terminal
    export WHISPERR_API_KEY=wrk_test WHISPERR_BASE_URL=http://127.0.0.1:8722
    uvicorn --app-dir examples tenants_fastapi:app   # in another one
    curl -X POST -H 'X-User: ada' -H 'X-Tenant: acme' 'http://127.0.0.1:8000/plan?name=pro&seats=9'
    curl -X POST -H 'X-User: bob' -H 'X-Tenant: blue' 'http://127.0.0.1:8000/export?rows=120000'
    curl http://127.0.0.1:8000/metrics/

Within 10 seconds, `whisperr dev` prints both events; plan_upgraded has the properties
`{"plan": "pro", "seats": 9, "region": "eu", "tenant": "acme"}`.

`whisperr events examples/tenants_fastapi.py` prints the tracking plan.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import Depends, FastAPI, Header
from fastapi.requests import HTTPConnection
from prometheus_client import REGISTRY, make_asgi_app

from whisperr import Event, Whisperr, scope
from whisperr.fastapi import Tracker, WhisperrMiddleware
from whisperr.prometheus import collector


class ShopEvent(Event, abstract=True):
    """The base class of the events. No call names these two: they are added to every event.

    Attributes:
        tenant: The customer, from a scope.
        region: Where the server runs, from the default properties.
    """

    tenant: str | None = None
    region: str | None = None


class PlanUpgraded(ShopEvent):
    """A user moves to a larger plan."""

    plan: Literal["pro", "team"]
    seats: int


class ExportFailed(ShopEvent):
    """An export fails, because it has too many rows."""

    rows: int


def get_user(connection: dict[str, Any]) -> str | None:
    """Return the user's id; a real application verifies a session or a token here."""
    return HTTPConnection(connection).headers.get("x-user")


async def tenant_scope(
    x_tenant: Annotated[str, Header()], x_request_id: Annotated[str | None, Header()] = None
) -> AsyncIterator[None]:
    """Give each event of a request its tenant; a real application takes it from the user."""
    with scope(tenant=x_tenant, context={"request_id": x_request_id or str(uuid4())}):
        yield


client = Whisperr(default_properties={"region": "eu"})
REGISTRY.register(collector(client))
app = FastAPI(dependencies=[Depends(tenant_scope)])
app.add_middleware(WhisperrMiddleware, client=client, resolve_user=get_user)
app.mount("/metrics", make_asgi_app())  # mounted: needs no tenant


@app.post("/plan")
async def upgrade(whisperr: Tracker, name: Literal["pro", "team"], seats: int) -> None:
    whisperr.track(PlanUpgraded(plan=name, seats=seats))


@app.post("/export")
def export(whisperr: Tracker, rows: int) -> None:  # FastAPI runs it in a thread, in the same scope
    whisperr.track(ExportFailed(rows=rows))
