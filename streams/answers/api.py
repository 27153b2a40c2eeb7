"""The service: receipts, lineage, usage, statements, books and keys over HTTP, each tenant seeing its own.

A tenant's key opens that tenant; an operator's opens all. What a key may not see looks exactly like what does not
exist.
"""

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from schemas.errors import DatabaseUnavailable, DataError
from schemas.metrics.instruments import new_registry
from streams.answers.desk import Desk
from streams.answers.lineage import context_document
from streams.answers.metrics import ApiMetrics
from streams.answers.periods import Period
from streams.answers.rate_limit import RateLimit
from streams.answers.registry import OPERATOR, Tenant
from streams.answers.report import make_report
from streams.answers.service import NO_SUCH, Service, ServiceRules, make, owner, service_of
from streams.answers.signing import Keyring, public_keys, sign
from streams.answers.site import add_site
from streams.answers.statements import find_statement
from streams.ledger.books import read_books

__all__ = ["ServiceRules", "create_api"]


LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")


class Problem(BaseModel):
    """What went wrong and what to do."""

    detail: str


REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": Problem, "description": "no key, or one that opens nothing"},
    404: {"model": Problem, "description": "missing, or another tenant's"},
    429: {"model": Problem, "description": "too many calls; Retry-After says when"},
    503: {"model": Problem, "description": "the ledger does not answer"},
}
BAD_REQUEST: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": Problem, "description": "a period that cannot be"}
}


def create_api(dsn: str, ring: Keyring, rules: ServiceRules, metrics: ApiMetrics | None = None) -> FastAPI:
    """The ASGI application over the ledger at `dsn`; opens it when it starts, closes it when it ends."""
    desk = Desk(dsn)
    counted = metrics or ApiMetrics(new_registry())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        await desk.open()
        yield
        await desk.close()

    app = FastAPI(
        title="wattledger",
        version="1",
        description="Energy of LLM inference: receipts, lineage, usage, statements, books.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = Service(desk, ring, rules, RateLimit(rules.per_second, rules.burst))
    app.middleware("http")(_limited)
    app.middleware("http")(counted.measured)
    app.exception_handler(DatabaseUnavailable)(_away)
    for path, endpoint, kind in (
        ("/v1/receipts/{request_id}", _receipt, None),
        ("/v1/receipts/{request_id}/lineage", _lineage, None),
        ("/v1/usage", _usage, None),
        ("/v1/statements/{number:path}", _statement, HTMLResponse),
        ("/v1/books", _books, None),
    ):
        more = BAD_REQUEST if endpoint in (_usage, _books) else {}
        app.add_api_route(path, endpoint, responses=REFUSALS | more, response_class=kind or JSONResponse)
    limited: dict[int | str, dict[str, Any]] = {429: REFUSALS[429]}
    app.add_api_route("/v1/keys", _keys, responses=limited)
    app.add_api_route("/v1/context.jsonld", _context, responses=limited)
    app.add_api_route("/health", _health, responses=limited)
    add_site(app)
    if rules.page_for_all:
        # A page elsewhere could point its own name at this machine: nobody but this machine is answered.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK))
    return app


async def _limited(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    service = service_of(request)
    caller = request.client.host if request.client else ""
    wait_s = service.limit.wait_s(caller, time.monotonic())
    if wait_s:
        body = {"detail": "too many calls: slow down"}
        return JSONResponse(body, 429, headers={"Retry-After": str(math.ceil(wait_s))})
    return await answer(request)


async def _away(request: Request, error: Exception) -> Response:
    del request, error  # the message names the database, which is nobody's business here
    return JSONResponse({"detail": "the ledger does not answer: try again"}, 503)


bearer = HTTPBearer(auto_error=False, description="the key that `wattledger tenants add` printed")
Serving = Annotated[Service, Depends(service_of)]
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


async def _caller(service: Serving, credentials: Credentials) -> Tenant:
    tenant = await owner(service, credentials.credentials if credentials else "")
    if tenant is None:
        raise HTTPException(
            401, "a key is needed: Authorization: Bearer wl_…", {"WWW-Authenticate": "Bearer"}
        )
    return tenant


async def _operator(caller: Annotated[Tenant, Depends(_caller)]) -> Tenant:
    if caller.role != OPERATOR:
        raise HTTPException(404, NO_SUCH)
    return caller


Caller = Annotated[Tenant, Depends(_caller)]
Operator = Annotated[Tenant, Depends(_operator)]
From = Annotated[datetime, Query(alias="from", description="start, with a time zone")]
To = Annotated[datetime, Query(alias="to", description="end, exclusive, with a time zone")]


async def _make(service: Service, caller: Tenant, request_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        return await make(service, caller, request_id)
    except DataError:
        raise HTTPException(404, NO_SUCH) from None


async def _receipt(request_id: str, service: Serving, caller: Caller) -> dict[str, Any]:
    """One request's receipt, by the client's id or the ledger's: signed (jws) and for reading (receipt)."""
    receipt, _ = await _make(service, caller, request_id)
    return {"jws": sign(service.ring, receipt), "receipt": receipt}


async def _lineage(request_id: str, service: Serving, caller: Caller) -> Response:
    """Where the request's energy comes from, as JSON-LD; its hash is in the receipt."""
    _, lineage = await _make(service, caller, request_id)
    return JSONResponse(lineage, media_type="application/ld+json")


async def _usage(
    service: Serving, caller: Caller, start: From, end: To, tenant: str | None = None
) -> dict[str, Any]:
    """What a tenant drew in a period, as `wattledger report --json`; an operator names the tenant."""
    name = tenant or caller.name
    if name != caller.name and caller.role != OPERATOR:
        raise HTTPException(404, NO_SUCH)
    try:
        period = Period(start, end)
    except DataError as error:
        raise HTTPException(400, str(error)) from None
    try:
        report = await service.desk.ask(make_report, name, period, datetime.now(UTC))
    except DataError:
        raise HTTPException(404, NO_SUCH) from None
    return report.data()


async def _statement(number: str, service: Serving, caller: Caller) -> Response:
    """A statement's page, byte for byte as issued."""
    found = await service.desk.ask(find_statement, number)
    if found is None or (found.tenant != caller.name and caller.role != OPERATOR):
        raise HTTPException(404, NO_SUCH)
    return HTMLResponse(found.html, headers={"X-Content-SHA256": found.html_sha256})


async def _books(service: Serving, operator: Operator, start: From, end: To) -> dict[str, Any]:
    """Whether every joule of a period stands in exactly one account, by group; for operators."""
    del operator
    try:
        period = Period(start, end).parameters
    except DataError as error:
        raise HTTPException(400, str(error)) from None
    bounds = {"from_ns": period["from_ms"] * 10**6, "to_ns": period["to_ms"] * 10**6}
    books = await service.desk.ask(read_books, **bounds)
    return {
        "closes": books.closes,
        "groups": [
            {
                "group_id": group.group_id,
                "metered_uj": str(group.metered_uj),
                "booked_uj": str(group.booked_uj),
            }
            for group in books.groups
        ],
    }


async def _keys(service: Serving) -> dict[str, Any]:
    """The public keys that check receipts (JWK set)."""
    return public_keys(service.ring)


async def _context() -> Response:
    """The JSON-LD context of lineages."""
    return JSONResponse(context_document(), media_type="application/ld+json")


async def _health(service: Serving) -> dict[str, str]:
    """Whether the service runs."""
    del service
    return {"status": "ok"}
