"""The service: receipts, lineage, usage, statements, books and keys over HTTP, each tenant seeing its own.

A tenant's key opens that tenant; an operator's opens all. What a key may not see looks exactly like what does not
exist.
"""

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import start_http_server
from pydantic import BaseModel

from schemas.errors import DatabaseUnavailable, DataError
from schemas.metrics.instruments import new_registry
from streams.answers.desk import Desk
from streams.answers.lineage import context_document
from streams.answers.metrics import ApiMetrics
from streams.answers.page import render_page
from streams.answers.periods import Period
from streams.answers.rate_limit import RateLimit
from streams.answers.receipts import make_receipt
from streams.answers.registry import OPERATOR, Tenant, owner_of
from streams.answers.report import make_report
from streams.answers.signing import Keyring, load_keyring, new_key, public_keys, sign
from streams.answers.statements import find_statement
from streams.ledger.books import read_books
from streams.ledger.client import connect
from streams.ledger.migrations import require_current

__all__ = ["ServiceRules", "create_api", "serve"]

NO_SUCH: Final = "no such thing, or not yours: check the id and the key"
"""One answer for what is missing and what is another tenant's."""


class Problem(BaseModel):
    """What went wrong and what to do."""

    detail: str


@dataclass(frozen=True, slots=True)
class ServiceRules:
    """How a service presents itself and whom it lets in."""

    issuer: str = "wattledger"
    base_url: str = "http://127.0.0.1:8321"
    page_for_all: bool = False
    """Show the fleet's page without a key: on a laptop, where only its user can connect."""
    per_second: float = 20.0
    burst: float = 60.0


@dataclass(frozen=True, slots=True)
class _Service:
    desk: Desk
    ring: Keyring
    rules: ServiceRules
    limit: RateLimit


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
    app.state.service = _Service(desk, ring, rules, RateLimit(rules.per_second, rules.burst))
    app.middleware("http")(_limited)
    app.middleware("http")(counted.measured)
    app.exception_handler(DatabaseUnavailable)(_away)
    for path, endpoint, kind in (
        ("/v1/receipts/{request_id}", _receipt, None),
        ("/v1/receipts/{request_id}/lineage", _lineage, None),
        ("/v1/usage", _usage, None),
        ("/v1/statements/{number:path}", _statement, HTMLResponse),
        ("/v1/books", _books, None),
        ("/", _page, HTMLResponse),
    ):
        more = BAD_REQUEST if endpoint in (_usage, _books) else {}
        app.add_api_route(path, endpoint, responses=REFUSALS | more, response_class=kind or JSONResponse)
    limited: dict[int | str, dict[str, Any]] = {429: REFUSALS[429]}
    app.add_api_route("/v1/keys", _keys, responses=limited)
    app.add_api_route("/v1/context.jsonld", _context, responses=limited)
    app.add_api_route("/health", _health, responses=limited)
    return app


def serve(
    dsn: str, host: str, port: int, *, keys: Path, rules: ServiceRules | None = None, metrics_port: int = 0
) -> None:
    """Serve the ledger at `dsn` until interrupted; makes a signing key in `keys` if there is none.

    metrics_port: Prometheus endpoint, apart from what tenants reach; 0 for none.
    Raises DatabaseUnavailable or MigrationError before it listens.
    """
    client = connect(dsn)
    try:
        require_current(client)
    finally:
        client.close()
    if not any(keys.glob("*.jwk")):
        new_key(keys, datetime.now(UTC))
    chosen = rules or ServiceRules(base_url=f"http://{host}:{port}")
    metrics = ApiMetrics(new_registry())
    if metrics_port:
        start_http_server(metrics_port, registry=metrics.registry)
    app = create_api(dsn, load_keyring(keys), chosen, metrics)
    # Without a configuration of its own, so that its lines have the form of all others.
    uvicorn.run(app, host=host, port=port, log_level="warning", log_config=None)


async def _limited(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    service: _Service = request.app.state.service
    caller = request.client.host if request.client else ""
    wait_s = service.limit.wait_s(caller, time.monotonic())
    if wait_s:
        body = {"detail": "too many calls: slow down"}
        return JSONResponse(body, 429, headers={"Retry-After": str(math.ceil(wait_s))})
    return await answer(request)


async def _away(request: Request, error: Exception) -> Response:
    del request, error  # the message names the database, which is nobody's business here
    return JSONResponse({"detail": "the ledger does not answer: try again"}, 503)


def _service(request: Request) -> _Service:
    service: _Service = request.app.state.service
    return service


bearer = HTTPBearer(auto_error=False, description="the key that `wattledger tenants add` printed")
Service = Annotated[_Service, Depends(_service)]
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


async def _caller(service: Service, credentials: Credentials) -> Tenant:
    tenant = None
    if credentials is not None:
        tenant = await service.desk.ask(owner_of, credentials.credentials)
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


async def _make(service: _Service, caller: Tenant, request_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        return await service.desk.ask(
            make_receipt,
            request_id,
            tenant=None if caller.role == OPERATOR else caller.name,
            issuer=service.rules.issuer,
            base_url=service.rules.base_url,
            issued_at=datetime.now(UTC),
        )
    except DataError:
        raise HTTPException(404, NO_SUCH) from None


async def _receipt(request_id: str, service: Service, caller: Caller) -> dict[str, Any]:
    """One request's receipt, by the client's id or the ledger's: signed (jws) and for reading (receipt)."""
    receipt, _ = await _make(service, caller, request_id)
    return {"jws": sign(service.ring, receipt), "receipt": receipt}


async def _lineage(request_id: str, service: Service, caller: Caller) -> Response:
    """Where the request's energy comes from, as JSON-LD; its hash is in the receipt."""
    _, lineage = await _make(service, caller, request_id)
    return JSONResponse(lineage, media_type="application/ld+json")


async def _usage(
    service: Service, caller: Caller, start: From, end: To, tenant: str | None = None
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


async def _statement(number: str, service: Service, caller: Caller) -> Response:
    """A statement's page, byte for byte as issued."""
    found = await service.desk.ask(find_statement, number)
    if found is None or (found.tenant != caller.name and caller.role != OPERATOR):
        raise HTTPException(404, NO_SUCH)
    return HTMLResponse(found.html, headers={"X-Content-SHA256": found.html_sha256})


async def _books(service: Service, operator: Operator, start: From, end: To) -> dict[str, Any]:
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


async def _page(service: Service, credentials: Credentials) -> Response:
    """The fleet's page; for operators, or for everyone where the service says so."""
    if not service.rules.page_for_all:
        await _operator(await _caller(service, credentials))
    try:
        return HTMLResponse(await service.desk.ask(render_page, title="Where every joule went"))
    except DataError as error:
        raise HTTPException(404, str(error)) from None


async def _keys(service: Service) -> dict[str, Any]:
    """The public keys that check receipts (JWK set)."""
    return public_keys(service.ring)


async def _context() -> Response:
    """The JSON-LD context of lineages."""
    return JSONResponse(context_document(), media_type="application/ld+json")


async def _health(service: Service) -> dict[str, str]:
    """Whether the service runs."""
    del service
    return {"status": "ok"}
