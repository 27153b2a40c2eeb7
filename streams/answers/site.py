"""The page over HTTP: its views behind a key that a browser keeps, nothing loaded from anywhere, no script.

An operator sees everything, a tenant its own view and receipts. What a key may not see looks exactly like what does
not exist.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qs, quote

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from schemas.errors import DataError
from streams.answers import views
from streams.answers.registry import OPERATOR, Tenant
from streams.answers.report import make_report
from streams.answers.report_page import as_html
from streams.answers.service import NO_SUCH, Service, make, owner, service_of
from streams.answers.signing import sign, verified

__all__ = ["add_site"]

COOKIE: Final = "wattledger_key"
POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
NEVER: Final = datetime.fromtimestamp(0, UTC)
ANYONE: Final = Tenant("", OPERATOR, True, 0.0, "", "", "", NEVER, NEVER)
"""Who looks where the service shows its views without a key."""
LONGEST_FORM: Final = 4096
DEFAULT_SPAN: Final = "1 h"

View = Callable[[Service, Tenant, Request], Awaitable[Response]]


def add_site(app: FastAPI) -> None:
    """Serve the views on `app`, beside its API."""
    for path, view, for_tenants in (
        ("/", _fleet, False),
        ("/tenants", _tenants, False),
        ("/tenants/{name:path}", _tenant, True),
        ("/reports/{name:path}", _report, True),
        ("/batches/{batch_id}", _batch, False),
        ("/receipts/{request_id}/file", _file, True),
        ("/receipts/{request_id}", _receipt, True),
    ):
        app.add_api_route(path, _guarded(view, for_tenants=for_tenants), include_in_schema=False)
    app.add_api_route("/login", _login_page, include_in_schema=False)
    app.add_api_route("/login", _login, methods=["POST"], include_in_schema=False)
    app.add_api_route("/logout", _logout, methods=["POST"], include_in_schema=False)


def _guarded(view: View, *, for_tenants: bool) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        service = service_of(request)
        caller = await _who(service, request)
        if caller is None:
            return RedirectResponse("/login", 303, headers=HEADERS)
        if caller.role != OPERATOR and request.url.path == "/":
            return RedirectResponse(f"/tenants/{quote(caller.name, safe='')}", 303, headers=HEADERS)
        try:
            if caller.role != OPERATOR and not for_tenants:
                raise DataError(NO_SUCH)  # noqa: TRY301 - answered like what does not exist
            return await view(service, caller, request)
        except DataError as error:
            said = str(error) if caller.role == OPERATOR else NO_SUCH
            return _html(views.message("Nothing here", f"{said}.", _viewer(caller)), 404)

    return answer


async def _who(service: Service, request: Request) -> Tenant | None:
    if service.rules.page_for_all:
        return ANYONE
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return await owner(service, token if scheme.lower() == "bearer" else request.cookies.get(COOKIE, ""))


def _viewer(caller: Tenant) -> views.Viewer:
    return views.Viewer(caller.name, caller.role == OPERATOR)


def _html(text: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(text, status, headers=HEADERS)


def _span(request: Request) -> str:
    return request.query_params.get("span", DEFAULT_SPAN)


def _own(caller: Tenant, name: str) -> None:
    if caller.role != OPERATOR and caller.name != name:
        raise DataError(NO_SUCH)


async def _fleet(service: Service, caller: Tenant, request: Request) -> Response:
    follow = "follow" in request.query_params
    return _html(
        await service.desk.ask(
            views.fleet_view, _viewer(caller), _span(request), follow=follow, now=datetime.now(UTC)
        )
    )


async def _tenants(service: Service, caller: Tenant, request: Request) -> Response:
    return _html(await service.desk.ask(views.tenants_view, _viewer(caller), _span(request)))


async def _tenant(service: Service, caller: Tenant, request: Request) -> Response:
    name = request.path_params["name"]
    _own(caller, name)
    return _html(
        await service.desk.ask(
            views.tenant_view, _viewer(caller), name, _span(request), now=datetime.now(UTC)
        )
    )


async def _report(service: Service, caller: Tenant, request: Request) -> Response:
    name = request.path_params["name"]
    _own(caller, name)
    period = await service.desk.ask(views.period_of, _span(request))
    report = await service.desk.ask(make_report, name, period, datetime.now(UTC))
    return _html(as_html(report).decode())


async def _batch(service: Service, caller: Tenant, request: Request) -> Response:
    return _html(await service.desk.ask(views.batch_view, _viewer(caller), request.path_params["batch_id"]))


async def _receipt(service: Service, caller: Tenant, request: Request) -> Response:
    receipt, lineage = await make(service, caller, request.path_params["request_id"])
    checked = verified(service.ring, sign(service.ring, receipt))
    return _html(views.receipt_view(_viewer(caller), checked, lineage, kid=str(service.ring.current)))


async def _file(service: Service, caller: Tenant, request: Request) -> Response:
    receipt, lineage = await make(service, caller, request.path_params["request_id"])
    content = views.receipt_file(sign(service.ring, receipt), receipt, lineage)
    named = {"Content-Disposition": 'attachment; filename="receipt.json"'}
    return Response(content, media_type="application/json", headers=HEADERS | named)


async def _login_page() -> Response:
    return _html(views.render("login.html.j2", None, refused=False))


async def _login(request: Request) -> Response:
    service = service_of(request)
    body = await request.body()
    fields = parse_qs(body[:LONGEST_FORM].decode("utf-8", "replace"))
    key = fields.get("key", [""])[0].strip()
    if await owner(service, key) is None:
        return _html(views.render("login.html.j2", None, refused=True), 403)
    answer = RedirectResponse("/", 303, headers=HEADERS)
    secure = service.rules.base_url.startswith("https://")
    answer.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=secure)
    return answer


async def _logout() -> Response:
    answer = RedirectResponse("/login", 303, headers=HEADERS)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer
